-- Parameters: names, values, units, defaults.
SELECT ese_create_instance('params') AS i \gset
SELECT name, CASE WHEN name = 'backup_threads' THEN 'CPUs' ELSE default_value END AS default_value, unit, change_when
  FROM ese_system_parameter WHERE instance_id = :i;
SELECT bool_and(value = default_value) FROM ese_system_parameter WHERE instance_id = :i;
SELECT v, ese_set_system_parameter(:i, 'backup_idle_timeout', v), ese_get_system_parameter(:i, 'backup_idle_timeout')
  FROM unnest(ARRAY['90', '90s', '1h', '36h', '0', '60d', 'default']) v;
SELECT v, ese_set_system_parameter(:i, 'backup_max_rate', v), ese_get_system_parameter(:i, 'backup_max_rate')
  FROM unnest(ARRAY['1000', '64kB', '10 MB', '2GB', '1TB', '0', 'DEFAULT']) v;
SELECT v, ese_set_system_parameter(:i, 'verify_checksums', v), ese_get_system_parameter(:i, 'verify_checksums')
  FROM unnest(ARRAY['off', 'Report', 'error']) v;
SELECT v, ese_set_system_parameter(:i, 'auto_start', v), ese_get_system_parameter(:i, 'auto_start')
  FROM unnest(ARRAY['no', 'true', '0', 'default']) v;
-- messages say what would be right
SELECT ese_set_system_parameter(:i, 'verify_checksums', 'perhaps');
SELECT ese_set_system_parameter(:i, 'backup_threads', '100');
SELECT ese_set_system_parameter(:i, 'backup_max_rate', 'fast');
SELECT ese_set_system_parameter(:i, 'backup_idle_timeout', 'a while');
SELECT ese_set_system_parameter(:i, 'backup_threats', '2');
-- compression: a kind, and perhaps a level of it
SELECT v, ese_set_system_parameter(:i, 'backup_compression', v), ese_get_system_parameter(:i, 'backup_compression')
  FROM unnest(ARRAY['lz4', 'LZ4:12', 'zstd', 'zstd:22', 'none', 'default']) AS v;
SELECT ese_set_system_parameter(:i, 'backup_compression', 'zstd:23');
SELECT ese_set_system_parameter(:i, 'backup_compression', 'lz4:');
SELECT ese_set_system_parameter(:i, 'backup_compression', 'lz4:x');
SELECT ese_set_system_parameter(:i, 'backup_compression', 'none:1');
SELECT ese_set_system_parameter(:i, 'backup_compression', 'gzip');
SELECT ese_set_system_parameter(:i, 'backup_compression', '');
SELECT ese_set_system_parameter(:i, 'backup_format', 'cpio');
SELECT ese_drop_instance(:i);
