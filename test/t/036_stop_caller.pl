# A stop as its caller sees it: it waits for threads and backup mode, not for
# what the worker writes; the receipt tells the caller's time; every end has a
# reason.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "autovacuum = off\n");
my $id = start_instance($node, 'main', backup_threads => 2);
my $dbh = EseClient::connect_to(dsn($node));
my $work = PostgreSQL::Test::Utils::tempdir();
my $other = EseClient::connect_to(dsn($node));
$other->do("SET statement_timeout = '20s'");

sub let_go
{
	my ($points) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET ese.test_points = '$points'");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	return;
}

# ---- while the worker waits in GetLogInfo, in an End, in the logs of a native
# backup: the stop returns all the same
my $list = "SELECT count(*) FROM ese_get_log_info_instance($id)";
my $end = "SELECT ese_end_external_backup_instance($id, 2)";
for my $case ([ 'logs.stopped', $list ], [ 'logs.listed', $list ], [ 'end.recorded', $end ], [ 'logs.listed', undef ])
{
	my ($point, $sql) = @$case;
	my $name = defined $sql ? $point : "$point, native";
	my $session = EseClient::connect_to(dsn($node));
	my $offset = -s $node->logfile;
	EseClient::value($dbh, "SELECT ese_begin_external_backup_instance($id)") if defined $sql;
	set_test_points($node, "$point=wait, case=" . $name =~ s/\W/_/gr);
	if (defined $sql) { $session->do($sql, { pg_async => 1 }); }
	else { EseClient::value($dbh, "SELECT ese_backup_instance($id, '$work/native', wait => false)"); }
	$node->wait_for_log(qr/waiting at test point "\Q$point\E"/, $offset);
	is(EseClient::value($other, "SELECT ese_stop_backup_instance($id)"), 0, "$name: the stop returns while the worker waits");
	let_go('');
	my $state = defined $sql ? (eval { $session->pg_result; 1 } ? '00000' : $session->state) : '';
	is($state, $point eq 'end.recorded' ? '00000' : 'J0801', "$name: the call fails, or was over") if defined $sql;
	local $dbh->{PrintWarn} = 0;
	EseClient::value($dbh, $end) if $point =~ /^logs/ && defined $sql;
	wait_for($node, 'SELECT count(*) = 0 FROM ese_backup_progress');
	is(last_row($node, 'status, reason, stop_latency >= $$0$$ AND quiescent_at <= released_at'),
		$point eq 'end.recorded' ? 'aborted by caller|the backup was ended with JET_bitBackupEndAbort|' :
		'aborted by server|role "' . $node->safe_psql('postgres', 'SELECT current_user') . '" has stopped it|t', "$name: the history says so");
	nothing_held($node, "$name: nothing is held");
}

# ---- the receipt begins when the call was entered
EseClient::value($dbh, "SELECT ese_begin_external_backup_instance($id)");
set_test_points($node, 'stop.entered=wait', $other);
my $offset = -s $node->logfile;
my $entered = time();
$other->do("SELECT ese_stop_backup_instance($id)", { pg_async => 1 });
$node->wait_for_log(qr/waiting at test point "stop.entered"/, $offset);
my $waited = time();
$dbh->do('SELECT pg_sleep(0.3)');
let_go('');
$other->pg_result;
my $seen = time() - $entered;
my $told = $node->safe_psql('postgres', "SELECT extract(epoch FROM stop_latency) FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1");
cmp_ok($told, '>=', 0.3, 'what is told includes what came before the request');
cmp_ok($told, '<=', $seen, 'and is no more than the caller saw');
EseClient::value($dbh, $end);

# ---- every end has a reason: stopped, terminated, aborted, ended early, idle,
# its worker ended
sub begin { return EseClient::value($dbh, "SELECT ese_begin_external_backup_instance($id)"); }
sub running { return wait_for($node, "SELECT state = 'running' FROM ese_instance WHERE instance_id = $id"); }
my %ends = (
	stopped => sub { $dbh->do("SELECT ese_stop_backup_instance($id)"); EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id)"); },
	'stopped, not ended' => sub { $dbh->do("SELECT ese_stop_backup_instance($id)"); $dbh->do("SELECT ese_term($id, 2)"); $dbh->do("SELECT ese_init($id)"); },
	terminated => sub { $dbh->do("SELECT ese_term($id, 4)"); $dbh->do("SELECT ese_init($id)"); },
	abrupt => sub { $dbh->do("SELECT ese_term($id, 2)"); $dbh->do("SELECT ese_init($id)"); },
	aborted => sub { $dbh->do($end); },
	early => sub { EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id)"); },
	idle => sub {
		$dbh->do("SELECT ese_set_system_parameter($id, 'backup_idle_timeout', '10ms')");
		wait_for($node, 'SELECT count(*) = 0 FROM ese_backup_progress');
		$dbh->do("SELECT ese_set_system_parameter($id, 'backup_idle_timeout', 'default')");
	},
	exited => sub {
		my $worker = EseClient::value($dbh, "SELECT worker_pid FROM ese_instance WHERE instance_id = $id");
		$dbh->do("SELECT pg_terminate_backend($worker)");
		wait_for($node, "SELECT state = 'running' AND worker_pid <> $worker FROM ese_instance WHERE instance_id = $id");
	});
for my $how (sort keys %ends)
{
	$offset = -s $node->logfile;
	begin();
	$ends{$how}->();
	running();
	is(last_row($node, "status NOT IN ('running', 'stopped', 'completed') AND error_number < 0 AND length(reason) > 0"), 't', "$how: has a reason");
	my $log = substr(slurp_file($node->logfile), $offset);
	unlike($log, qr/DETAIL:  JET_\w+ \(-\d+\): \.|stopped by [^\n]*: $|\(null\)/m, "$how: so has the log");
}

nothing_held($node, 'in the end');

done_testing();
