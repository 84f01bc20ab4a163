-- Where the two ends of a connection are. A UUID names one connection for ever, so no date is asked: a test of one side of
-- midnight finds the annotation of the other.
CREATE VIEW {schema}_intermediate.places AS
SELECT id, server, client FROM {schema}_intermediate.annotation2_once
