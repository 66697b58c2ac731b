# A disk that does not come to an end with a flush: what waits for it, and what
# does not.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $work = PostgreSQL::Test::Utils::tempdir();
my $gate = "$work/gate";
system_or_bail('cc', '-D_GNU_SOURCE', '-shared', '-fPIC', '-O1', '-o', "$work/gate.so", 'test/lib/gate.c', '-ldl');
$ENV{ESE_TEST_GATE} = $gate;
my $node = do { local $ENV{LD_PRELOAD} = "$work/gate.so"; new_node('main', conf => "autovacuum = off\n") };
$node->command_ok([ 'pgbench', '-i', '-s', '8', '-q', 'postgres' ], 'pgbench data');
my $id = start_instance($node, 'main');
my $dbh = EseClient::connect_to(dsn($node));

sub shut_gate { append_to_file($gate, ''); return; }

# And wait until whoever waits has gone through.
sub open_gate { unlink($gate); usleep(1000) while -e "$gate.waiting"; return; }

sub ends_well { return eval { $dbh->do("CALL ese_wait_backup($id, timeout => '180 s')"); 1 } || diag($dbh->errstr); }

# Start something that stands still before its sync, while a flush is under
# way; then let it go on, and to where it waits for the flush.
sub start_to_sync
{
	my ($sql, $point) = @_;
	shut_gate();
	set_test_points($node, "$point=wait");
	my $offset = -s $node->logfile;
	$dbh->do($sql);
	$node->wait_for_log(qr/waiting at test point "$point"/, $offset);
	usleep(10000) until -e "$gate.waiting";
	set_test_points($node, '');
	# nothing shows from outside that a thread has parked
	usleep(300_000);
	is($dbh->selectrow_array('SELECT count(*) FROM ese_backup_progress'), 1, "$point: it waits for the flush");
	return;
}

for my $format (qw(plain tar))
{
	$dbh->do("SELECT ese_set_system_parameter($id, 'backup_format', '$format')");
	start_to_sync("SELECT ese_backup_instance($id, '$work/$format', 0, false)", 'native.sync');
	open_gate();
	is(ends_well(), 1, "$format: a backup goes on when the flush has ended");

	start_to_sync("SELECT ese_restore_instance($id, '$work/$format', '$work/restored_$format', wait => false)", 'restore.sync');
	open_gate();
	is(ends_well(), 1, "$format: and so does a restore");

	start_to_sync("SELECT ese_backup_instance($id, '$work/stopped', 0, false)", 'native.sync');
	$dbh->do("SELECT ese_stop_backup_instance($id)");
	wait_for($node, "SELECT status = 'aborted by server' FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1");
	ok(-e "$gate.waiting", "$format: a stop does not wait for it");
	ok(!-e "$work/stopped", 'and leaves nothing');
	$dbh->do("SELECT ese_begin_external_backup_instance($id)");
	is(EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id, 2)"), 0, 'nor does the next backup');
	open_gate();
}
command_ok([ 'pg_verifybackup', '-q', "$work/plain" ], 'the backup is good');
nothing_held($node, 'flushes');

done_testing();
