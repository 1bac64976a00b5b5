-- Arrival delay by route, for routes flown at least once a day.
SELECT origin, dest, count(*) AS flights, avg(arr_delay) AS mean_delay
FROM flights
WHERE arr_delay IS NOT NULL
GROUP BY origin, dest
HAVING count(*) >= 365
ORDER BY mean_delay DESC
