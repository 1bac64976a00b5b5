-- The year's flights with types; the file says NA where nothing was measured.
SELECT
    row_number() OVER () AS id,
    carrier,
    tailnum,
    origin,
    dest,
    CAST(hour AS INTEGER) AS hour,
    CAST(time_hour AS TIMESTAMP) AS time_hour,
    CAST(sched_dep_time AS INTEGER) AS sched_dep_time,
    TRY_CAST(dep_delay AS DOUBLE) AS dep_delay,
    TRY_CAST(arr_delay AS DOUBLE) AS arr_delay
FROM raw
