# Limits: many files, many handles, little WAL, threads and readers that are
# stuck.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\nmax_wal_size = 64MB\nmin_wal_size = 32MB\nese.stream_buffers = 48MB\nmax_locks_per_transaction = 2000\n",
	initdb => [ '--data-checksums', '--wal-segsize=1' ]);
my $data = $node->data_dir;
my $id = start_instance($node, 'main', max_open_files => 64, backup_threads => 2);
my $dbh = EseClient::connect_to(dsn($node));

sub open_file
{
	my ($name) = @_;
	return ($dbh->selectrow_array('SELECT * FROM ese_open_file_instance(?, ?)', undef, $id, $name))[0];
}
sub piece { return length(EseClient::value($dbh, "SELECT ese_read_file_instance($id, $_[0])")); }
sub make_file
{
	my ($name, $megabytes) = @_;
	open(my $file, '>', "$data/$name") or die;
	truncate($file, $megabytes * 1024 * 1024) or die;
	close($file);
	return;
}

# ---- 64 handles open, of which one is read
make_file("file$_", 3) for 1 .. 65;
make_file('large', 64);
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
my @handles = map { open_file("file$_") } 1 .. 63;
my $large = open_file('large');
my $bytes = 0;
while (my $length = piece($large)) { $bytes += $length; }
is($bytes, 64 * 1024 * 1024, '64 handles open, of which one is read');
my $message = fails_with($dbh, 'J1011', "SELECT ese_open_file_instance($id, 'file64')", 'one more is refused');
like($message, qr/more than 64 files/, 'with the limit');
is($node->safe_psql('postgres', 'SELECT count(*), count(*) FILTER (WHERE position = file_size) FROM ese_backup_handle'), '64|1',
	'ese_backup_handle lists them');
EseClient::value($dbh, "SELECT ese_close_file_instance($id, $large)");
is(piece($handles[30]), 262144, 'another one is read');
ok(open_file('file65') > 0, 'a closed handle makes room for another');
$dbh->do("SELECT ese_stop_backup_instance($id)");
is(EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id)"), -801, 'all are stopped and closed');
nothing_held($node, 'many handles');

# ---- not enough shared memory for one more instance
my $second = $node->safe_psql('postgres', "SELECT ese_create_instance('second')");
$node->safe_psql('postgres', "SELECT ese_set_system_parameter($second, 'max_open_files', '64')");
like(fails_with($dbh, 'J1011', "SELECT ese_init($second)", 'ese_init without enough frames'),
	qr/ese\.stream_buffers/, 'names ese.stream_buffers');
is($node->safe_psql('postgres', "SELECT state FROM ese_instance WHERE instance_id = $second"), 'stopped', 'and leaves it stopped');

# ---- a reader is stopped (SIGSTOP) while it holds a piece: a stop and the
# next backup go on without it, and its frames are not used meanwhile
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
my $stuck = EseClient::connect_to(dsn($node));
my $handle = open_file('large');
set_test_points($node, 'read.copied=wait', $stuck);
$stuck->do("SELECT ese_read_file_instance($id, $handle)", { pg_async => 1 });
wait_for($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = $stuck->{pg_pid} AND wait_event_type = 'Extension'");
kill('STOP', $stuck->{pg_pid});
is(EseClient::value($dbh, "SELECT ese_stop_backup_instance($id)"), 0, 'stop does not wait for a stopped reader');
is(EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id)"), -801, 'nor does End');
is($node->safe_psql('postgres', 'SELECT handles_open, handles_closing FROM ese_stream_buffers'), '0|1', 'its handle waits for it');
set_test_points($node, '');
unlink(glob("$data/file*"), "$data/large");
my $directory = PostgreSQL::Test::Utils::tempdir() . '/backup';
EseClient::backup(dsn($node), $id, $directory, sessions => 2);
command_ok([ 'pg_verifybackup', $directory ], 'the next backup works meanwhile');
kill('CONT', $stuck->{pg_pid});
ok(!eval { $stuck->pg_result; 1 }, 'the reader fails when it goes on');
like($stuck->state, qr/^J(0801|0520)$/, 'with ' . $stuck->state);
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
open_file('PG_VERSION');
is($node->safe_psql('postgres', 'SELECT handles_open, handles_closing FROM ese_stream_buffers'), '1|0', 'then its handle is free');
EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id, 2)");
nothing_held($node, 'a stopped reader');

# ---- WAL beyond max_slot_wal_keep_size while a thread is stuck
$node->safe_psql('postgres', "ALTER SYSTEM SET max_slot_wal_keep_size = '4MB'");
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
$node->safe_psql('postgres', 'CREATE TABLE filler (a text)');
$dbh->do("SELECT ese_begin_external_backup_instance($id, 0, 'wal')");
set_test_points($node, 'engine.read=hold');
$handle = open_file('PG_VERSION');
wait_for($node, 'SELECT count(*) = 1 FROM ese_backup_handle');
for (1 .. 12)
{
	$node->safe_psql('postgres', "INSERT INTO filler SELECT repeat(md5(i::text), 30) FROM generate_series(1, 4000) i");
}
# a checkpoint that waited for the stuck thread would wait for ever
$node->safe_psql('postgres', 'CHECKPOINT', timeout => 60);
pass('CHECKPOINT does not wait for a stuck thread');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET ese.test_points');
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id");
is($node->safe_psql('postgres', 'SELECT label, status, stop_cause, error_name FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1'),
	'wal|failed|wal limit|JET_errRequiredLogFilesMissing', 'the history says what happened');
like($node->safe_psql('postgres', 'SELECT reason FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1'),
	qr/max_slot_wal_keep_size/, 'and why');
fails_with($dbh, 'J0543', "SELECT ese_read_file_instance($id, $handle)", 'its handles say so too');
$node->safe_psql('postgres', 'DROP TABLE filler');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET max_slot_wal_keep_size');
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
nothing_held($node, 'the WAL limit');

# ---- 10,000 tables
$node->safe_psql('postgres', q{DO $$ BEGIN FOR i IN 1 .. 10000 LOOP
	EXECUTE format('CREATE TABLE many%s (a int)', i); IF i % 500 = 0 THEN COMMIT; END IF; END LOOP; END $$});
$node->safe_psql('postgres', q{DO $$ BEGIN FOR i IN 1 .. 10000 BY 10 LOOP EXECUTE format('INSERT INTO many%s VALUES (%s)', i, i); END LOOP; END $$});
$directory = PostgreSQL::Test::Utils::tempdir() . '/backup';
EseClient::backup(dsn($node), $id, $directory, sessions => 2, listed => sub {
	my ($session, $files) = @_;
	ok(scalar(@$files) > 10000, scalar(@$files) . ' files are listed');
});
my $restored = restore_and_check($node, 'restored', $directory);
is($restored->safe_psql('postgres', "SELECT count(*) FROM pg_class WHERE relname ~ '^many'"), 10000, '10,000 tables');
is($restored->safe_psql('postgres', 'SELECT a FROM many9991'), 9991, 'with their rows');
$restored->stop;
nothing_held($node, 'in the end');

done_testing();
