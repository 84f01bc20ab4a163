-- ndt7 tests of one direction with what their validity follows from.
CREATE VIEW ndt_intermediate.extended_ndt7_{name} AS
WITH test AS (
    SELECT id, date, a, archiver, raw, raw.{direction} AS measured,
        list_last(list_filter(raw.{direction}.ServerMeasurements, lambda m: m.TCPInfo IS NOT NULL)).TCPInfo AS tcp,
        epoch_us(raw.{direction}.EndTime) - epoch_us(raw.{direction}.StartTime) AS took_us,
        [m.TCPInfo.{bytes} FOR m IN raw.{direction}.ServerMeasurements IF m.TCPInfo.{bytes} IS NOT NULL] AS counted
    FROM ndt_intermediate.ndt7_once
    WHERE raw.{direction}.UUID IS NOT NULL
)
SELECT id, date, 'ndt7_{name}' AS view, archiver, measured.ClientMetadata AS client_metadata,
    measured.ServerMetadata AS server_metadata,
    'ndt7-' || CASE WHEN contains(raw.ClientIP, ':') THEN 'IPv6' ELSE 'IPv4' END || '-'
        || CASE raw.ServerPort WHEN 443 THEN 'WSS' WHEN 80 THEN 'WS' ELSE 'unknown' END AS protocol,
    a.TestTime AS test_time, {congestion_control} AS congestion_control, a.MeanThroughputMbps AS mbps, a.MinRTT AS min_rtt,
    {loss_rate} AS loss_rate,
    raw.ClientIP AS client_ip, raw.ClientPort AS client_port, raw.ServerIP AS server_ip, raw.ServerPort AS server_port,
    {
        IsComplete: tcp IS NOT NULL AND measured.EndTime IS NOT NULL,
        IsProduction: regexp_matches(archiver.ArchiveURL, '-mlab[1-3]-[a-z]{3}[0-9]{2}-'),
        -- The row contradicts itself: no rate, no round trip although bytes came, or a byte counter that ran backwards.
        IsError: a.MeanThroughputMbps IS NULL OR NOT isfinite(a.MeanThroughputMbps) OR a.MeanThroughputMbps < 0
            OR coalesce(tcp.{bytes} > 0 AND tcp.MinRTT IN (0, 4294967295), false) OR counted <> list_sort(counted),
        IsOAM: {is_oam},
        _IsRFC1918: {is_private},
        -- The server's clock was set back during the test: it says less than what the kernel's own timer counted.
        IsPlatformAnomaly: coalesce(took_us < 0 OR took_us + 1000000 < tcp.ElapsedTime, false),
        IsSmall: coalesce(tcp.{bytes}, 0) < 8192,
        IsShort: took_us < 9000000,
        IsLong: took_us > 60000000,
        IsEarlyExit: {early_exit},
        _IsCongested: tcp.TotalRetrans > 0,
        _IsBloated: tcp.RTT > 2 * tcp.MinRTT AND tcp.RTT > 1000
    } AS filter
FROM test
