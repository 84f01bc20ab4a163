-- Tests of one direction with what their validity follows from. One row per connection.
CREATE VIEW ndt_intermediate.extended_ndt7_{name} AS
WITH test AS (
    SELECT id, date, a, archiver, raw, raw.{direction} AS measured,
        list_last(list_filter(raw.{direction}.ServerMeasurements, lambda m: m.TCPInfo IS NOT NULL)).TCPInfo AS tcp,
        regexp_extract(archiver.ArchiveURL, '-(mlab[1-4]d?)-([a-z]{3}[0-9tc]{2})-', ['machine', 'site']) AS host,
        raw.ClientIP AS ip
    FROM ndt.ndt7
    WHERE raw.{direction}.UUID IS NOT NULL
), flagged AS (
    SELECT *, {
        IsComplete: tcp IS NOT NULL AND measured.EndTime IS NOT NULL,
        IsProduction: regexp_matches(archiver.ArchiveURL, '-mlab[1-3]-[a-z]{3}[0-9]{2}-'),
        IsError: false,
        IsOAM: ip IN ('127.0.0.1', '::1'),
        _IsRFC1918: regexp_matches(ip, '^(::ffff:)?(10\.|192\.168\.|172\.(1[6-9]|2[0-9]|3[01])\.)'),
        IsPlatformAnomaly: false,
        IsSmall: coalesce(tcp.{bytes}, 0) < 8192,
        IsShort: epoch_us(measured.EndTime) - epoch_us(measured.StartTime) < 9000000,
        IsLong: epoch_us(measured.EndTime) - epoch_us(measured.StartTime) > 60000000,
        IsEarlyExit: {early_exit},
        _IsCongested: tcp.TotalRetrans > 0,
        _IsBloated: tcp.RTT > 2 * tcp.MinRTT AND tcp.RTT > 1000
    } AS filter
    FROM test
)
SELECT *, coalesce(
        filter.IsComplete AND filter.IsProduction AND NOT filter.IsError AND NOT filter.IsOAM
        AND NOT filter.IsPlatformAnomaly AND NOT filter.IsSmall AND NOT filter.IsLong AND NOT filter._IsRFC1918,
        false) AS base_valid
FROM flagged
QUALIFY row_number() OVER (PARTITION BY id ORDER BY date, raw.StartTime) = 1
