-- Each measurement with all that was recorded of its connection, one row per measurement: the rows of each sidecar are a
-- list, so that two traceroutes, or the pieces of a long connection, make no second row.
CREATE VIEW {schema}.{table}_linked AS
SELECT test.*{lists}
FROM {schema}.{table}_joined AS test
{parts}
