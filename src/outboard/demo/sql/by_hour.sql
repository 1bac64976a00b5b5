-- Departure delay by the scheduled hour.
SELECT hour, count(*) AS flights, avg(dep_delay) AS mean_delay
FROM flights
WHERE dep_delay IS NOT NULL
GROUP BY hour
ORDER BY hour
