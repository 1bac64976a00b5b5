-- Mean arrival delay of each airline with a 95 % interval, by a Poisson bootstrap: every draw weighs each flight by a
-- number of copies that is Poisson(1) distributed, taken from a hash, so that the same flights give the same interval.
WITH weighed AS (
    SELECT carrier, draw, arr_delay, (hash(id, draw) % 1000000) / 1e6 AS chance
    FROM flights, range($draws) AS draws(draw)
    WHERE arr_delay IS NOT NULL
),
copies AS (
    SELECT
        carrier,
        draw,
        arr_delay,
        CASE
            WHEN chance < 0.3679 THEN 0
            WHEN chance < 0.7358 THEN 1
            WHEN chance < 0.9197 THEN 2
            WHEN chance < 0.9810 THEN 3
            ELSE 4
        END AS weight
    FROM weighed
),
means AS (
    SELECT carrier, draw, sum(weight * arr_delay) / sum(weight) AS mean
    FROM copies
    GROUP BY carrier, draw
),
intervals AS (
    SELECT carrier, quantile_cont(mean, 0.025) AS low, quantile_cont(mean, 0.975) AS high
    FROM means
    GROUP BY carrier
)
SELECT carrier, name AS airline, count(arr_delay) AS flights, avg(arr_delay) AS mean_delay, low, high
FROM flights
JOIN airlines USING (carrier)
JOIN intervals USING (carrier)
GROUP BY ALL
ORDER BY mean_delay
