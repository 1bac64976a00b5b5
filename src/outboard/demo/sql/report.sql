-- One line per finding; minutes are means.
SELECT 1 AS place, 'most punctual airline, minutes late' AS finding, airline AS who, round(mean_delay, 1) AS minutes,
    printf('95 %% within %.1f and %.1f', low, high) AS note
FROM (FROM by_carrier ORDER BY mean_delay LIMIT 1)
UNION ALL
SELECT 2, 'least punctual airline, minutes late', airline, round(mean_delay, 1),
    printf('95 %% within %.1f and %.1f', low, high)
FROM (FROM by_carrier ORDER BY mean_delay DESC LIMIT 1)
UNION ALL
SELECT 3, 'best hour to leave, minutes late', printf('%02d:00', hour), round(mean_delay, 1),
    printf('%d flights', flights)
FROM (FROM by_hour ORDER BY mean_delay LIMIT 1)
UNION ALL
SELECT 4, 'worst hour to leave, minutes late', printf('%02d:00', hour), round(mean_delay, 1),
    printf('%d flights', flights)
FROM (FROM by_hour ORDER BY mean_delay DESC LIMIT 1)
UNION ALL
SELECT 5, 'most delayed route, minutes late', origin || ' to ' || dest, round(mean_delay, 1),
    printf('%d flights', flights)
FROM (FROM by_route ORDER BY mean_delay DESC LIMIT 1)
UNION ALL
SELECT 6, 'rain costs, minutes', 'any airline',
    round(max(mean_delay) FILTER (is_wet) - max(mean_delay) FILTER (NOT is_wet), 1),
    printf('%d flights in rain', max(flights) FILTER (is_wet))
FROM by_weather
UNION ALL
SELECT 7, 'a plane that came in late costs, minutes', 'any airline',
    round(max(mean_delay) FILTER (was_late) - max(mean_delay) FILTER (NOT was_late), 1),
    printf('%d flights after one', max(flights) FILTER (was_late))
FROM by_plane
ORDER BY place
