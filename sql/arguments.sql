-- Every function with NULL, negative, huge, unknown and out-of-order arguments.
SELECT ese_create_instance('args') AS i \gset
\set VERBOSITY sqlstate
-- instances
SELECT ese_create_instance(NULL);
SELECT ese_create_instance('');
SELECT ese_create_instance('Upper');
SELECT ese_create_instance('with-dash');
SELECT ese_create_instance('../x');
SELECT ese_create_instance('/x');
SELECT ese_create_instance(E'a\nb');
SELECT ese_create_instance('a''b');
SELECT ese_create_instance(repeat('x', 51));
SELECT ese_create_instance('long_display', repeat('x', 300));
SELECT ese_create_instance(repeat('x', 50)) IS NOT NULL AS fifty;
SELECT ese_drop_instance(ese_instance_id(repeat('x', 50)));
SELECT ese_instance_id(NULL);
SELECT ese_instance_id('nobody');
SELECT ese_instance_id('nobody', true);
SELECT ese_drop_instance(NULL);
SELECT ese_drop_instance(-1);
SELECT ese_drop_instance(2147483647);
SELECT ese_init(NULL);
SELECT ese_init(0);
SELECT ese_term(NULL);
SELECT ese_term(:i, NULL);
SELECT ese_term(:i, 64);
SELECT ese_set_system_parameter(:i, NULL, '1');
SELECT ese_set_system_parameter(:i, 'backup_threads', NULL);
SELECT ese_set_system_parameter(NULL, 'backup_threads', '1');
SELECT ese_get_system_parameter(:i, NULL);
SELECT ese_get_system_parameter(:i, 'nonsense');
-- an instance that is not running
SELECT ese_begin_external_backup_instance(:i);
SELECT ese_read_file_instance(:i, 1);
SELECT ese_get_attach_info_instance(:i);
SELECT ese_stop_backup_instance(:i);
SELECT ese_backup_id(:i);
SELECT ese_term(:i);
SELECT ese_init(:i);
-- without a backup
SELECT ese_get_attach_info_instance(:i);
SELECT ese_get_log_info_instance(:i);
SELECT ese_open_file_instance(:i, 'PG_VERSION');
SELECT ese_read_file_instance(:i, 1);
SELECT ese_close_file_instance(:i, 1);
SELECT ese_end_external_backup_instance(:i);
SELECT ese_stop_backup_instance(:i);
SELECT ese_backup_id(:i);
-- Begin
SELECT ese_begin_external_backup_instance(NULL);
SELECT ese_begin_external_backup_instance(-5);
SELECT ese_begin_external_backup_instance(:i, NULL);
SELECT ese_begin_external_backup_instance(:i, ese_grbit('JET_bitBackupAtomic'));
SELECT ese_begin_external_backup_instance(:i, ese_grbit('JET_bitBackupIncremental'));
SELECT ese_begin_external_backup_instance(:i, 0, E'two\nlines');
SELECT ese_begin_external_backup_instance(:i, 0, repeat('x', 2000));
SELECT ese_begin_external_backup_instance(:i, 0, 'a "label"');
SELECT ese_begin_external_backup_instance(:i);
SELECT ese_backup_id(:i) AS backup \gset
-- the argument backup
SELECT count(*) > 0 FROM ese_get_attach_info_instance(:i, :backup);
SELECT ese_get_attach_info_instance(:i, 0);
SELECT ese_get_attach_info_instance(:i, -1);
SELECT ese_get_attach_info_instance(:i, 9223372036854775807);
SELECT ese_stop_backup_instance(:i, true, -1);
-- Open
SELECT ese_open_file_instance(:i, NULL);
SELECT ese_open_file_instance(:i, 'PG_VERSION', NULL);
SELECT ese_open_file_instance(:i, 'PG_VERSION', -1);
SELECT ese_open_file_instance(:i, 'PG_VERSION', 9223372036854775807);
SELECT ese_open_file_instance(:i, 'pg_wal');
SELECT handle AS h, file_size FROM ese_open_file_instance(:i, 'PG_VERSION') \gset
-- Read
SELECT ese_read_file_instance(NULL, :h);
SELECT ese_read_file_instance(:i, NULL);
SELECT ese_read_file_instance(:i, :h, NULL);
SELECT ese_read_file_instance(:i, :h, 0);
SELECT ese_read_file_instance(:i, :h, -8192);
SELECT ese_read_file_instance(:i, :h, 8191);
SELECT ese_read_file_instance(:i, :h, 12288);
SELECT ese_read_file_instance(:i, :h, 16785408);
SELECT ese_read_file_instance(:i, :h, 2147483647);
SELECT ese_read_file_instance(:i, :h, 8192, -1);
SELECT ese_read_file_instance(:i, :h, 8192, 1);
SELECT ese_read_file_instance(:i, -1);
SELECT ese_read_file_instance(:i, 0);
SELECT ese_read_file_instance(:i, 2147483647);
SELECT ese_read_file_instance(:i, :h, 8192, 0) = E'15\n' AS version;
SELECT length(ese_read_file_instance(:i, :h));
-- in the wrong order
SELECT ese_get_log_info_instance(:i);
SELECT ese_close_file_instance(:i, NULL);
SELECT ese_close_file_instance(:i, -1);
SELECT ese_close_file_instance(:i, :h);
SELECT ese_close_file_instance(:i, :h);
SELECT ese_read_file_instance(:i, :h);
SELECT count(*) FROM ese_get_log_info_instance(:i) WHERE file_name = 'backup_manifest';
SELECT ese_open_file_instance(:i, 'PG_VERSION');
SELECT ese_open_file_instance(:i, 'pg_wal/nothing');
-- End
SELECT ese_end_external_backup_instance(NULL);
SELECT ese_end_external_backup_instance(:i, NULL);
SELECT ese_end_external_backup_instance(:i, 0);
SELECT ese_end_external_backup_instance(:i, 3);
SELECT ese_end_external_backup_instance(:i, 1, :backup + 1);
SELECT ese_end_external_backup_instance(:i, 1, :backup);
SELECT ese_end_external_backup_instance(:i);
SELECT ese_check(ese_end_external_backup_instance(:i));
-- in a transaction that rolls back: what was done stays done
BEGIN;
SELECT ese_begin_external_backup_instance(:i);
ROLLBACK;
SELECT ese_backup_id(:i) IS NOT NULL AS open;
BEGIN READ ONLY;
SELECT ese_end_external_backup_instance(:i, 2);
COMMIT;
SELECT ese_term(:i);
SELECT ese_drop_instance(:i);
SELECT status, error_name FROM ese_backup_history;
