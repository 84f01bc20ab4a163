-- ndt5 tests of one direction with what their validity follows from.
CREATE VIEW ndt_intermediate.extended_ndt5_{name} AS
WITH test AS (
    SELECT id, date, a, archiver, raw, raw.{ndt5} AS measured, raw.S2C.TCPInfo AS tcp,
        epoch_us(raw.{ndt5}.EndTime) - epoch_us(raw.{ndt5}.StartTime) AS took_us
    FROM ndt_intermediate.ndt5_once
    WHERE raw.{ndt5} IS NOT NULL AND coalesce(raw.{ndt5}.UUID, '') NOT IN ('', 'ERROR_DISCOVERING_UUID')
)
SELECT id, date, 'ndt5_{name}' AS view, archiver, raw.Control.ClientMetadata AS client_metadata,
    raw.Control.ServerMetadata AS server_metadata,
    'ndt5-' || CASE WHEN contains(raw.ClientIP, ':') THEN 'IPv6' ELSE 'IPv4' END || '-'
        || coalesce(raw.Control.Protocol, 'unknown') AS protocol,
    a.TestTime AS test_time, {congestion_control} AS congestion_control, a.MeanThroughputMbps AS mbps, a.MinRTT AS min_rtt,
    {loss_rate} AS loss_rate,
    raw.ClientIP AS client_ip, raw.ClientPort AS client_port, raw.ServerIP AS server_ip, raw.ServerPort AS server_port,
    {
        IsComplete: measured.EndTime IS NOT NULL AND a.MeanThroughputMbps IS NOT NULL,
        IsProduction: regexp_matches(archiver.ArchiveURL, '-mlab[1-3]-[a-z]{3}[0-9]{2}-'),
        -- What the server wrote down when it gave up.
        IsError: coalesce(measured.Error, '') <> '',
        IsOAM: {is_oam},
        _IsRFC1918: {is_private},
        IsPlatformAnomaly: coalesce(took_us < 0, false),
        IsSmall: coalesce(a.MeanThroughputMbps * took_us / 8, 0) < 8192,
        IsShort: took_us < 9000000,
        IsLong: took_us > 60000000,
        IsEarlyExit: false,
        _IsCongested: tcp.TotalRetrans > 0,
        _IsBloated: tcp.RTT > 2 * tcp.MinRTT AND tcp.RTT > 1000
    } AS filter
FROM test
