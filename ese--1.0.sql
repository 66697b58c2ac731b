/* ese--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION ese" to load this file. \quit

-- No function that acts is executable by PUBLIC.  The calls of a backup, from
-- Begin to End, also need the privileges of pg_read_server_files, REPLICATION
-- or superuser; what reads or writes paths of the server, those of
-- pg_read_server_files and pg_write_server_files.
CREATE FUNCTION ese_create_instance(
    name text,
    display_name text DEFAULT NULL,
    if_not_exists boolean DEFAULT false)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_create_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_create_instance(text, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION ese_create_instance(text, text, boolean) IS
    'creates a backup instance and returns its id, which is never reused';

CREATE FUNCTION ese_drop_instance(instance integer)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_drop_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_drop_instance(integer) FROM PUBLIC;
COMMENT ON FUNCTION ese_drop_instance(integer) IS
    'drops a stopped instance with its history';

CREATE FUNCTION ese_instance_id(name text, missing_ok boolean DEFAULT false)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_instance_id'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ese_instance_id(text, boolean) IS
    'the id of the instance of this name; J1003 if there is none';

CREATE FUNCTION ese_set_system_parameter(instance integer, param text, value text)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_set_system_parameter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_set_system_parameter(integer, text, text) FROM PUBLIC;
COMMENT ON FUNCTION ese_set_system_parameter(integer, text, text) IS
    'sets a parameter of an instance, durably; ''default'' resets it';

CREATE FUNCTION ese_get_system_parameter(instance integer, param text)
    RETURNS text
    AS 'MODULE_PATHNAME', 'ese_get_system_parameter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_get_system_parameter(integer, text) FROM PUBLIC;
COMMENT ON FUNCTION ese_get_system_parameter(integer, text) IS
    'the value of a parameter of an instance';

CREATE FUNCTION ese_init(instance integer, if_stopped boolean DEFAULT false)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_init'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_init(integer, boolean) FROM PUBLIC;
COMMENT ON FUNCTION ese_init(integer, boolean) IS
    'starts the background worker of an instance; 0: it runs';

CREATE FUNCTION ese_term(instance integer, grbit integer DEFAULT 0)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_term'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_term(integer, integer) FROM PUBLIC;
COMMENT ON FUNCTION ese_term(integer, integer) IS
    'stops an instance; J0505 while a backup is open, unless JET_bitTermStopBackup or JET_bitTermAbrupt is given';

CREATE FUNCTION ese_grbit(names text)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_grbit'
    LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION ese_grbit(text) IS
    'the number of option names joined by |';

CREATE FUNCTION ese_error_name(number integer)
    RETURNS text
    AS 'MODULE_PATHNAME', 'ese_error_name'
    LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION ese_error_name(integer) IS
    'the name of a JET error number, or null';

CREATE FUNCTION ese_check(result integer)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_check'
    LANGUAGE C STABLE PARALLEL UNSAFE;
COMMENT ON FUNCTION ese_check(integer) IS
    'raises a negative result as its error, returns any other';

CREATE FUNCTION ese_begin_external_backup_instance(
    instance integer,
    grbit integer DEFAULT 0,
    label text DEFAULT NULL)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_begin_external_backup_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_begin_external_backup_instance(integer, integer, text) FROM PUBLIC;
COMMENT ON FUNCTION ese_begin_external_backup_instance(integer, integer, text) IS
    'begins a streaming backup';

CREATE FUNCTION ese_backup_id(instance integer)
    RETURNS bigint
    AS 'MODULE_PATHNAME', 'ese_backup_id'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_backup_id(integer) FROM PUBLIC;
COMMENT ON FUNCTION ese_backup_id(integer) IS
    'the id of the open backup of an instance, or null';

CREATE FUNCTION ese_get_attach_info_instance(
    instance integer,
    backup bigint DEFAULT NULL,
    OUT file_name text,
    OUT file_size bigint,
    OUT kind text,
    OUT database_oid oid,
    OUT tablespace_oid oid)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'ese_get_attach_info_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_get_attach_info_instance(integer, bigint) FROM PUBLIC;
COMMENT ON FUNCTION ese_get_attach_info_instance(integer, bigint) IS
    'the files and directories of the open backup';

CREATE FUNCTION ese_open_file_instance(
    instance integer,
    file_name text,
    start_offset bigint DEFAULT 0,
    backup bigint DEFAULT NULL,
    OUT handle integer,
    OUT file_size bigint)
    RETURNS record
    AS 'MODULE_PATHNAME', 'ese_open_file_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_open_file_instance(integer, text, bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION ese_open_file_instance(integer, text, bigint, bigint) IS
    'opens a file of the backup for reading';

CREATE FUNCTION ese_read_file_instance(
    instance integer,
    handle integer,
    max_bytes integer DEFAULT 262144,
    at_offset bigint DEFAULT NULL)
    RETURNS bytea
    AS 'MODULE_PATHNAME', 'ese_read_file_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_read_file_instance(integer, integer, integer, bigint) FROM PUBLIC;
COMMENT ON FUNCTION ese_read_file_instance(integer, integer, integer, bigint) IS
    'the next piece of an open file; empty at its end';

CREATE FUNCTION ese_close_file_instance(instance integer, handle integer)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_close_file_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_close_file_instance(integer, integer) FROM PUBLIC;
COMMENT ON FUNCTION ese_close_file_instance(integer, integer) IS
    'closes a file: the receipt that it was read';

CREATE FUNCTION ese_open_stream_instance(instance integer, backup bigint DEFAULT NULL)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_open_stream_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_open_stream_instance(integer, bigint) FROM PUBLIC;
COMMENT ON FUNCTION ese_open_stream_instance(integer, bigint) IS
    'opens a stream: a handle whose bytes are a tar of files that no other stream carries';

CREATE FUNCTION ese_read_stream_instance(instance integer, handle integer, max_bytes integer DEFAULT 262144)
    RETURNS SETOF bytea
    AS 'MODULE_PATHNAME', 'ese_read_stream_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_read_stream_instance(integer, integer, integer) FROM PUBLIC;
COMMENT ON FUNCTION ese_read_stream_instance(integer, integer, integer) IS
    'the bytes of a stream, a piece a row; to be called in the SELECT list, by a statement that sends the rows to who keeps them';

CREATE PROCEDURE ese_copy_stream(instance integer, handle integer)
    AS 'MODULE_PATHNAME', 'ese_copy_stream'
    LANGUAGE C;
REVOKE ALL ON PROCEDURE ese_copy_stream(integer, integer) FROM PUBLIC;
COMMENT ON PROCEDURE ese_copy_stream(integer, integer) IS
    'sends a stream, or a file, as COPY data; also from a procedure or DO block, but not inside a transaction block';

CREATE FUNCTION ese_resume_stream_instance(
    instance integer,
    handle integer,
    received bigint,
    OUT new_handle integer,
    OUT keep_bytes bigint)
    RETURNS record
    AS 'MODULE_PATHNAME', 'ese_resume_stream_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_resume_stream_instance(integer, integer, bigint) FROM PUBLIC;
COMMENT ON FUNCTION ese_resume_stream_instance(integer, integer, bigint) IS
    'goes on with a broken stream in a new one; the client keeps keep_bytes of what it has and appends';

CREATE FUNCTION ese_get_log_info_instance(
    instance integer,
    backup bigint DEFAULT NULL,
    OUT file_name text,
    OUT file_size bigint,
    OUT kind text,
    OUT generation bigint)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'ese_get_log_info_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_get_log_info_instance(integer, bigint) FROM PUBLIC;
COMMENT ON FUNCTION ese_get_log_info_instance(integer, bigint) IS
    'leaves backup mode and lists the log and patch files of the open backup, its log manifest last';

CREATE FUNCTION ese_get_truncate_log_info_instance(
    instance integer,
    backup bigint DEFAULT NULL,
    OUT file_name text,
    OUT generation bigint)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'ese_get_truncate_log_info_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_get_truncate_log_info_instance(integer, bigint) FROM PUBLIC;
COMMENT ON FUNCTION ese_get_truncate_log_info_instance(integer, bigint) IS
    'the logs that need not be kept once the open backup is good';

CREATE FUNCTION ese_unread_files(
    instance integer,
    backup bigint DEFAULT NULL,
    OUT file_name text,
    OUT file_size bigint,
    OUT kind text,
    OUT state text)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'ese_unread_files'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_unread_files(integer, bigint) FROM PUBLIC;
COMMENT ON FUNCTION ese_unread_files(integer, bigint) IS
    'the files that keep the open backup, or the last one, from being good: not read, open, in a stream, failed or damaged';

CREATE FUNCTION ese_truncate_log_instance(instance integer, backup bigint DEFAULT NULL)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_truncate_log_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_truncate_log_instance(integer, bigint) FROM PUBLIC;
COMMENT ON FUNCTION ese_truncate_log_instance(integer, bigint) IS
    'has the logs of the open backup given up when it ends well; J0616 unless all were read to their end and closed';

CREATE FUNCTION ese_end_external_backup_instance(
    instance integer,
    grbit integer DEFAULT 1,
    backup bigint DEFAULT NULL)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_end_external_backup_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_end_external_backup_instance(integer, integer, bigint) FROM PUBLIC;
COMMENT ON FUNCTION ese_end_external_backup_instance(integer, integer, bigint) IS
    'ends the open backup: 0 if it is good, else a negative JET error number and a warning';

CREATE FUNCTION ese_stop_backup_instance(
    instance integer,
    wait boolean DEFAULT true,
    backup bigint DEFAULT NULL)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_stop_backup_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_stop_backup_instance(integer, boolean, bigint) FROM PUBLIC;
COMMENT ON FUNCTION ese_stop_backup_instance(integer, boolean, bigint) IS
    'stops the open backup: every later read fails with J0801';

CREATE FUNCTION ese_backup_instance(
    instance integer,
    path text,
    grbit integer DEFAULT 0,
    wait boolean DEFAULT true,
    label text DEFAULT NULL)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_backup_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_backup_instance(integer, text, integer, boolean, text) FROM PUBLIC;
COMMENT ON FUNCTION ese_backup_instance(integer, text, integer, boolean, text) IS
    'has the server write a whole backup to a directory of its own';

CREATE FUNCTION ese_restore_instance(
    instance integer,
    source text,
    destination text,
    target_time timestamptz DEFAULT NULL,
    target_lsn pg_lsn DEFAULT NULL,
    target_xid text DEFAULT NULL,
    target_name text DEFAULT NULL,
    tablespace_map jsonb DEFAULT NULL,
    wait boolean DEFAULT true)
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_restore_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_restore_instance(integer, text, text, timestamptz, pg_lsn, text, text, jsonb, boolean) FROM PUBLIC;
COMMENT ON FUNCTION ese_restore_instance(integer, text, text, timestamptz, pg_lsn, text, text, jsonb, boolean) IS
    'has the server restore a backup, with its incrementals, to a directory of its own, and recover it, to the end or to a point in time';

CREATE FUNCTION ese_verify_backup(
    instance integer,
    source text,
    depth text DEFAULT 'manifest')
    RETURNS integer
    AS 'MODULE_PATHNAME', 'ese_verify_backup'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_verify_backup(integer, text, text) FROM PUBLIC;
COMMENT ON FUNCTION ese_verify_backup(integer, text, text) IS
    'has the server read a backup and compare it with its manifest, or (depth restore) restore, recover and check a copy';

CREATE PROCEDURE ese_wait_backup(
    instance integer,
    backup bigint DEFAULT NULL,
    timeout interval DEFAULT NULL)
    AS 'MODULE_PATHNAME', 'ese_wait_backup'
    LANGUAGE C;
REVOKE ALL ON PROCEDURE ese_wait_backup(integer, bigint, interval) FROM PUBLIC;
COMMENT ON PROCEDURE ese_wait_backup(integer, bigint, interval) IS
    'waits, without a snapshot, until a backup has ended; raises its error if it is not good';

CREATE FUNCTION ese_check_instance(
    instance integer,
    OUT "check" text,
    OUT ok boolean,
    OUT detail text)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'ese_check_instance'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION ese_check_instance(integer) FROM PUBLIC;
COMMENT ON FUNCTION ese_check_instance(integer) IS
    'what a backup of the instance needs, and whether it is there';

CREATE FUNCTION ese_instance_rows(
    OUT instance_id integer,
    OUT name text,
    OUT display_name text,
    OUT state text,
    OUT worker_pid integer,
    OUT service_stopped boolean,
    OUT circular_log boolean,
    OUT slot_name text,
    OUT wal_retained bigint,
    OUT last_full_at timestamptz,
    OUT last_full_lsn pg_lsn,
    OUT last_incremental_at timestamptz,
    OUT last_copy_at timestamptz,
    OUT last_differential_at timestamptz,
    OUT chain_backup_id bigint,
    OUT chain_location text,
    OUT chain_state text,
    OUT failure text)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'ese_instance_rows'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ese_instance_rows() IS 'the rows of the view ese_instance';

CREATE VIEW ese_instance AS SELECT * FROM ese_instance_rows();
GRANT SELECT ON ese_instance TO PUBLIC;
COMMENT ON VIEW ese_instance IS 'instances: their state, worker and last backups';
COMMENT ON COLUMN ese_instance.instance_id IS 'id of the instance';
COMMENT ON COLUMN ese_instance.name IS 'its name';
COMMENT ON COLUMN ese_instance.display_name IS 'its display name';
COMMENT ON COLUMN ese_instance.state IS 'stopped, initializing, running, terminating or failed';
COMMENT ON COLUMN ese_instance.worker_pid IS 'process ID of its background worker; null while there is none';
COMMENT ON COLUMN ese_instance.service_stopped IS 'whether its service was stopped';
COMMENT ON COLUMN ese_instance.circular_log IS 'whether no WAL is kept between backups';
COMMENT ON COLUMN ese_instance.slot_name IS 'replication slot that keeps WAL between backups; null with circular logging';
COMMENT ON COLUMN ese_instance.wal_retained IS 'bytes of WAL this slot keeps';
COMMENT ON COLUMN ese_instance.last_full_at IS 'start of the last full backup that was good';
COMMENT ON COLUMN ese_instance.last_full_lsn IS 'WAL location at which it began';
COMMENT ON COLUMN ese_instance.last_incremental_at IS 'start of the last good incremental backup';
COMMENT ON COLUMN ese_instance.last_copy_at IS 'start of the last good copy backup';
COMMENT ON COLUMN ese_instance.last_differential_at IS 'start of the last good differential backup';
COMMENT ON COLUMN ese_instance.chain_backup_id IS 'full backup of the current chain';
COMMENT ON COLUMN ese_instance.chain_location IS 'where the chain lies';
COMMENT ON COLUMN ese_instance.chain_state IS 'none, ok, or broken: the slot is gone or has lost WAL, or the data directory is a copy';
COMMENT ON COLUMN ese_instance.failure IS 'why the worker died last; null unless it has';

CREATE FUNCTION ese_system_parameter_rows(
    OUT instance_id integer,
    OUT name text,
    OUT value text,
    OUT default_value text,
    OUT unit text,
    OUT change_when text,
    OUT description text)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'ese_system_parameter_rows'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ese_system_parameter_rows() IS 'the rows of the view ese_system_parameter';

CREATE VIEW ese_system_parameter AS SELECT * FROM ese_system_parameter_rows();
GRANT SELECT ON ese_system_parameter TO PUBLIC;
COMMENT ON VIEW ese_system_parameter IS 'parameters of the instances';
COMMENT ON COLUMN ese_system_parameter.instance_id IS 'id of the instance';
COMMENT ON COLUMN ese_system_parameter.name IS 'name of the parameter';
COMMENT ON COLUMN ese_system_parameter.value IS 'its value';
COMMENT ON COLUMN ese_system_parameter.default_value IS 'its default';
COMMENT ON COLUMN ese_system_parameter.unit IS 'unit of the value; null where there is none';
COMMENT ON COLUMN ese_system_parameter.change_when IS 'when it may change: any time, between backups or stopped';
COMMENT ON COLUMN ese_system_parameter.description IS 'what it does';

CREATE FUNCTION ese_backup_progress_rows(
    OUT instance_id integer,
    OUT name text,
    OUT backup_id bigint,
    OUT kind text,
    OUT label text,
    OUT phase text,
    OUT stop_requested boolean,
    OUT begun_by text,
    OUT client_addr text,
    OUT application_name text,
    OUT started_at timestamptz,
    OUT phase_started_at timestamptz,
    OUT open_files bigint,
    OUT files_total bigint,
    OUT files_done bigint,
    OUT files_in_streams bigint,
    OUT files_unassigned bigint,
    OUT bytes_total bigint,
    OUT bytes_done bigint,
    OUT bytes_per_second bigint,
    OUT checksum_failures bigint,
    OUT last_call_at timestamptz)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'ese_backup_progress_rows'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ese_backup_progress_rows() IS 'the rows of the view ese_backup_progress';

CREATE VIEW ese_backup_progress AS SELECT * FROM ese_backup_progress_rows();
GRANT SELECT ON ese_backup_progress TO PUBLIC;
COMMENT ON VIEW ese_backup_progress IS 'open backups';
COMMENT ON COLUMN ese_backup_progress.instance_id IS 'id of the instance';
COMMENT ON COLUMN ese_backup_progress.name IS 'its name';
COMMENT ON COLUMN ese_backup_progress.backup_id IS 'id of the backup';
COMMENT ON COLUMN ese_backup_progress.kind IS 'full, copy, incremental or differential; or restore, or verify';
COMMENT ON COLUMN ese_backup_progress.label IS 'its label; of a restore the directory it is made from, of a verification its depth';
COMMENT ON COLUMN ese_backup_progress.phase IS 'starting, databases or logs';
COMMENT ON COLUMN ese_backup_progress.stop_requested IS 'whether it was stopped';
COMMENT ON COLUMN ese_backup_progress.begun_by IS 'role that began it';
COMMENT ON COLUMN ese_backup_progress.client_addr IS 'address from which it was begun; null for a local connection';
COMMENT ON COLUMN ese_backup_progress.application_name IS 'application that began it';
COMMENT ON COLUMN ese_backup_progress.started_at IS 'when it was begun';
COMMENT ON COLUMN ese_backup_progress.phase_started_at IS 'when the phase began';
COMMENT ON COLUMN ese_backup_progress.open_files IS 'open handles';
COMMENT ON COLUMN ese_backup_progress.files_total IS 'files of the backup; those of the logs phase from then on';
COMMENT ON COLUMN ese_backup_progress.files_done IS 'files read and closed, or found gone';
COMMENT ON COLUMN ese_backup_progress.files_in_streams IS 'files in streams that are open';
COMMENT ON COLUMN ese_backup_progress.files_unassigned IS 'files nobody has opened yet';
COMMENT ON COLUMN ese_backup_progress.bytes_total IS 'bytes of all files';
COMMENT ON COLUMN ese_backup_progress.bytes_done IS 'bytes delivered';
COMMENT ON COLUMN ese_backup_progress.bytes_per_second IS 'rate over the last ten seconds';
COMMENT ON COLUMN ese_backup_progress.checksum_failures IS 'damaged pages found';
COMMENT ON COLUMN ese_backup_progress.last_call_at IS 'last sign of life of a client; see backup_idle_timeout';

CREATE FUNCTION ese_backup_handle_rows(
    OUT instance_id integer,
    OUT backup_id bigint,
    OUT handle integer,
    OUT kind text,
    OUT file_name text,
    OUT "position" bigint,
    OUT file_size bigint,
    OUT opened_by text,
    OUT opened_at timestamptz,
    OUT last_read_at timestamptz)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'ese_backup_handle_rows'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ese_backup_handle_rows() IS 'the rows of the view ese_backup_handle';

CREATE VIEW ese_backup_handle AS SELECT * FROM ese_backup_handle_rows();
GRANT SELECT ON ese_backup_handle TO PUBLIC;
COMMENT ON VIEW ese_backup_handle IS 'open handles';
COMMENT ON COLUMN ese_backup_handle.instance_id IS 'id of the instance';
COMMENT ON COLUMN ese_backup_handle.backup_id IS 'id of the backup';
COMMENT ON COLUMN ese_backup_handle.handle IS 'the handle; null for who may not read backups';
COMMENT ON COLUMN ese_backup_handle.kind IS 'file or stream';
COMMENT ON COLUMN ese_backup_handle.file_name IS 'file, relative to the data directory';
COMMENT ON COLUMN ese_backup_handle."position" IS 'bytes delivered';
COMMENT ON COLUMN ese_backup_handle.file_size IS 'size, fixed when it was opened';
COMMENT ON COLUMN ese_backup_handle.opened_by IS 'role that opened it';
COMMENT ON COLUMN ese_backup_handle.opened_at IS 'when it was opened';
COMMENT ON COLUMN ese_backup_handle.last_read_at IS 'when it was read last';

CREATE FUNCTION ese_backup_history_rows(
    OUT backup_id bigint,
    OUT instance_id integer,
    OUT name text,
    OUT label text,
    OUT kind text,
    OUT status text,
    OUT stop_cause text,
    OUT error_number integer,
    OUT error_name text,
    OUT reason text,
    OUT location text,
    OUT begun_by text,
    OUT client_addr text,
    OUT application_name text,
    OUT started_at timestamptz,
    OUT ended_at timestamptz,
    OUT stop_requested_at timestamptz,
    OUT stop_requested_by text,
    OUT quiescent_at timestamptz,
    OUT released_at timestamptz,
    OUT stop_latency interval,
    OUT start_lsn pg_lsn,
    OUT stop_lsn pg_lsn,
    OUT timeline integer,
    OUT files bigint,
    OUT bytes bigint,
    OUT wal_bytes bigint,
    OUT checksum_failures bigint,
    OUT verified_at timestamptz,
    OUT verified_depth text)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'ese_backup_history_rows'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ese_backup_history_rows() IS 'the rows of the view ese_backup_history';

CREATE VIEW ese_backup_history AS SELECT * FROM ese_backup_history_rows();
GRANT SELECT ON ese_backup_history TO PUBLIC;
COMMENT ON VIEW ese_backup_history IS 'backups, running and ended: the newest history_limit of each instance';
COMMENT ON COLUMN ese_backup_history.backup_id IS 'id of the backup, never reused';
COMMENT ON COLUMN ese_backup_history.instance_id IS 'id of the instance';
COMMENT ON COLUMN ese_backup_history.name IS 'its name';
COMMENT ON COLUMN ese_backup_history.label IS 'label of the backup; of a restore the directory it was made from, of a verification its depth';
COMMENT ON COLUMN ese_backup_history.kind IS 'full, copy, incremental or differential; or restore, or verify';
COMMENT ON COLUMN ese_backup_history.status IS 'running, stopped, completed, aborted by caller, aborted by server or failed';
COMMENT ON COLUMN ese_backup_history.stop_cause IS 'why it was stopped; null unless it was';
COMMENT ON COLUMN ese_backup_history.error_number IS '0 when completed, else the JET error; null while running';
COMMENT ON COLUMN ese_backup_history.error_name IS 'name of the error';
COMMENT ON COLUMN ese_backup_history.reason IS 'what happened, in words; of a restore or verification also the moment it has come to, and what it is warned about';
COMMENT ON COLUMN ese_backup_history.location IS 'where it was written; null for streaming backups; of a verification what was verified';
COMMENT ON COLUMN ese_backup_history.begun_by IS 'role that began it';
COMMENT ON COLUMN ese_backup_history.client_addr IS 'address from which it was begun; null for a local connection';
COMMENT ON COLUMN ese_backup_history.application_name IS 'application that began it';
COMMENT ON COLUMN ese_backup_history.started_at IS 'when it was begun';
COMMENT ON COLUMN ese_backup_history.ended_at IS 'when it ended';
COMMENT ON COLUMN ese_backup_history.stop_requested_at IS 'when its stop was requested';
COMMENT ON COLUMN ese_backup_history.stop_requested_by IS 'role, or part of the server, that requested it';
COMMENT ON COLUMN ese_backup_history.quiescent_at IS 'when nothing was read any more and backup mode was left';
COMMENT ON COLUMN ese_backup_history.released_at IS 'when everything it held was released';
COMMENT ON COLUMN ese_backup_history.stop_latency IS 'from stop_requested_at to quiescent_at';
COMMENT ON COLUMN ese_backup_history.start_lsn IS 'WAL location from which a restore replays';
COMMENT ON COLUMN ese_backup_history.stop_lsn IS 'WAL location to which it must; of a restore, the one it has come to';
COMMENT ON COLUMN ese_backup_history.timeline IS 'its timeline';
COMMENT ON COLUMN ese_backup_history.files IS 'files read';
COMMENT ON COLUMN ese_backup_history.bytes IS 'bytes of these files';
COMMENT ON COLUMN ese_backup_history.wal_bytes IS 'bytes of WAL segments';
COMMENT ON COLUMN ese_backup_history.checksum_failures IS 'damaged pages found';
COMMENT ON COLUMN ese_backup_history.verified_at IS 'when the backup was last verified';
COMMENT ON COLUMN ese_backup_history.verified_depth IS 'how thoroughly';

CREATE FUNCTION ese_checksum_failure_rows(
    OUT backup_id bigint,
    OUT instance_id integer,
    OUT database_oid oid,
    OUT tablespace_oid oid,
    OUT relfilenode oid,
    OUT fork text,
    OUT file_name text,
    OUT block bigint,
    OUT found_at timestamptz)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'ese_checksum_failure_rows'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ese_checksum_failure_rows() IS 'the rows of the view ese_checksum_failure';

CREATE VIEW ese_checksum_failure AS SELECT * FROM ese_checksum_failure_rows();
GRANT SELECT ON ese_checksum_failure TO PUBLIC;
COMMENT ON VIEW ese_checksum_failure IS 'damaged pages that backups have found';
COMMENT ON COLUMN ese_checksum_failure.backup_id IS 'id of the backup';
COMMENT ON COLUMN ese_checksum_failure.instance_id IS 'id of the instance';
COMMENT ON COLUMN ese_checksum_failure.database_oid IS 'database; null for shared relations';
COMMENT ON COLUMN ese_checksum_failure.tablespace_oid IS 'tablespace';
COMMENT ON COLUMN ese_checksum_failure.relfilenode IS 'file number of the relation';
COMMENT ON COLUMN ese_checksum_failure.fork IS 'main, fsm, vm or init';
COMMENT ON COLUMN ese_checksum_failure.file_name IS 'file, relative to the data directory';
COMMENT ON COLUMN ese_checksum_failure.block IS 'block number in the fork';
COMMENT ON COLUMN ese_checksum_failure.found_at IS 'when it was found';

CREATE FUNCTION ese_error_rows(
    OUT number integer,
    OUT name text,
    OUT sqlstate text,
    OUT category text,
    OUT meaning text,
    OUT raised boolean,
    OUT backup_after text,
    OUT retry text)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'ese_errors'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ese_error_rows() IS 'the rows of the view ese_error';

CREATE VIEW ese_error AS SELECT * FROM ese_error_rows();
GRANT SELECT ON ese_error TO PUBLIC;
COMMENT ON VIEW ese_error IS 'all JET errors and warnings';
COMMENT ON COLUMN ese_error.number IS 'the JET error number';
COMMENT ON COLUMN ese_error.name IS 'its name';
COMMENT ON COLUMN ese_error.sqlstate IS 'its SQLSTATE';
COMMENT ON COLUMN ese_error.category IS 'its category in ESE';
COMMENT ON COLUMN ese_error.meaning IS 'what it means';
COMMENT ON COLUMN ese_error.raised IS 'whether this extension raises it';
COMMENT ON COLUMN ese_error.backup_after IS 'what becomes of an open backup: unchanged; stopped, call End; or ended';
COMMENT ON COLUMN ese_error.retry IS 'whether to try again: no, same call, after End, later, after a full';

CREATE FUNCTION ese_constant_rows(
    OUT name text,
    OUT value bigint,
    OUT meaning text,
    OUT accepted_by text)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'ese_constants'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ese_constant_rows() IS 'the rows of the view ese_constant';

CREATE VIEW ese_constant AS SELECT * FROM ese_constant_rows();
GRANT SELECT ON ese_constant TO PUBLIC;
COMMENT ON VIEW ese_constant IS 'all constants of the ESE interface';
COMMENT ON COLUMN ese_constant.name IS 'the name';
COMMENT ON COLUMN ese_constant.value IS 'the value';
COMMENT ON COLUMN ese_constant.meaning IS 'what it means in ESE';
COMMENT ON COLUMN ese_constant.accepted_by IS 'functions of this extension that accept the option; null for none';

CREATE FUNCTION ese_stream_buffers_rows(
    OUT bytes_total bigint,
    OUT bytes_free bigint,
    OUT bytes_promised bigint,
    OUT handles_open bigint,
    OUT handles_closing bigint,
    OUT closing_pids integer[])
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'ese_stream_buffers_rows'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ese_stream_buffers_rows() IS 'the row of the view ese_stream_buffers';

CREATE VIEW ese_stream_buffers AS SELECT * FROM ese_stream_buffers_rows();
GRANT SELECT ON ese_stream_buffers TO PUBLIC;
COMMENT ON VIEW ese_stream_buffers IS 'use of the shared memory for file contents';
COMMENT ON COLUMN ese_stream_buffers.bytes_total IS 'size of ese.stream_buffers';
COMMENT ON COLUMN ese_stream_buffers.bytes_free IS 'bytes in no use';
COMMENT ON COLUMN ese_stream_buffers.bytes_promised IS 'bytes of these that running instances may claim at any time';
COMMENT ON COLUMN ese_stream_buffers.handles_open IS 'open handles, of all instances';
COMMENT ON COLUMN ese_stream_buffers.handles_closing IS 'closed handles that a session is still reading; they keep their memory, also what was promised to others';
COMMENT ON COLUMN ese_stream_buffers.closing_pids IS 'process IDs of these sessions; end one with pg_terminate_backend() to have its memory back';

-- Only a running instance has databases, as in ESE.
CREATE FUNCTION ese_get_instance_info(
    OUT instance_id integer,
    OUT name text,
    OUT display_name text,
    OUT state text,
    OUT database_names text[])
    RETURNS SETOF record
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT i.instance_id, i.name, i.display_name, i.state,
           CASE WHEN i.state = 'running'
                THEN ARRAY(SELECT d.datname::text
                             FROM pg_catalog.pg_database d
                            ORDER BY d.datname)
                ELSE '{}'::text[] END
      FROM ese_instance i
     ORDER BY i.instance_id;
END;
REVOKE ALL ON FUNCTION ese_get_instance_info() FROM PUBLIC;
COMMENT ON FUNCTION ese_get_instance_info() IS
    'all instances, and the databases that a backup by a running one holds';
