-- Departure delay after the same plane's last arrival of the day was late, and after it was not.
WITH legs AS (
    SELECT
        dep_delay,
        lag(arr_delay) OVER (
            PARTITION BY tailnum, CAST(time_hour AS DATE) ORDER BY time_hour, sched_dep_time, id
        ) AS delay_before
    FROM flights
    WHERE tailnum <> 'NA'
)
SELECT delay_before > 30 AS was_late, count(*) AS flights, avg(dep_delay) AS mean_delay
FROM legs
WHERE dep_delay IS NOT NULL AND delay_before IS NOT NULL
GROUP BY was_late
