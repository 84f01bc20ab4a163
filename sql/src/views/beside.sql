-- What a sidecar recorded of each connection, under the dates of the tests that may ask: that of the record and its neighbours.
-- Records are large, and nearly every connection has one: it passes through as it is, and only several of one connection
-- are gathered, which takes the memory of all that are.
CREATE VIEW {schema}_intermediate.{part}_beside AS
WITH record AS NOT MATERIALIZED (
    SELECT * FROM {schema}_intermediate.{part}_once WHERE {is_id}
    UNION ALL
    SELECT * FROM {schema}_intermediate.{part}_eve WHERE {is_id}
    UNION ALL
    SELECT * FROM {schema}_intermediate.{part}_morrow WHERE {is_id}
), several AS NOT MATERIALIZED (
    SELECT id, date FROM record GROUP BY id, date HAVING count(*) > 1
), gathered AS NOT MATERIALIZED (
    SELECT record.* FROM record JOIN several ON record.date = several.date AND record.id = several.id
)
SELECT record.id, record.date, [{row}] AS {part}
FROM record LEFT JOIN several ON record.date = several.date AND record.id = several.id
WHERE several.date IS NULL
UNION ALL
SELECT id, date, list({row} ORDER BY {order}) AS {part} FROM gathered GROUP BY id, date
