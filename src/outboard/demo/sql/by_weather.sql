-- Departure delay in wet and in dry hours, by the weather at the airport of departure.
SELECT TRY_CAST(weather.precip AS DOUBLE) > 0 AS is_wet, count(*) AS flights, avg(dep_delay) AS mean_delay
FROM flights
JOIN weather ON weather.origin = flights.origin AND CAST(weather.time_hour AS TIMESTAMP) = flights.time_hour
WHERE dep_delay IS NOT NULL
GROUP BY is_wet
