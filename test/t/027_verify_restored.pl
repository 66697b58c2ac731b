# Depth 'restore' of a verification: damage is what pg_amcheck calls so, and
# nothing else; what roles and databases set does not matter.  And a copy that was
# damaged when it was made says so.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\nfsync = off\nfull_page_writes = on\n");
my $work = PostgreSQL::Test::Utils::tempdir();
my $id = start_instance($node, 'main');
$node->safe_psql('postgres', 'CREATE DATABASE app');
my $superuser = $node->safe_psql('postgres', 'SELECT rolname FROM pg_authid WHERE oid = 10');

sub verify_restored
{
	my ($directory) = @_;
	return call_verbosely($node, "SELECT ese_verify_backup($id, '$directory', 'restore')");
}

# ---- settings of databases and roles, and code that would run
my $ran = "$work/ran";
$node->safe_psql('app', "CREATE FUNCTION run() RETURNS event_trigger LANGUAGE plpgsql AS \$\$ BEGIN COPY (SELECT 1) TO PROGRAM 'cat > $ran'; END \$\$");
$node->safe_psql('app', 'CREATE EVENT TRIGGER run ON ddl_command_end EXECUTE FUNCTION run()');
$node->safe_psql('postgres', $_) for
	'ALTER DATABASE app SET default_transaction_read_only = on',
	"ALTER DATABASE app SET statement_timeout = '1ms'",
	"ALTER DATABASE app SET session_preload_libraries = 'no such library'",
	"ALTER DATABASE app SET client_min_messages = 'debug1'",
	"ALTER ROLE \"$superuser\" SET lock_timeout = '1ms'",
	"ALTER ROLE \"$superuser\" IN DATABASE app SET role = 'pg_monitor'",
	"ALTER SYSTEM SET log_min_messages = 'panic'", "ALTER SYSTEM SET log_line_prefix = 'x '", "ALTER SYSTEM SET recovery_min_apply_delay = '1h'";
unlink($ran);
# this server's settings must not hinder the test itself
backup('settings');

sub backup
{
	my ($name) = @_;
	$node->safe_psql('postgres', "SELECT ese_backup_instance($id, '$work/$name')");
	return;
}

my ($state, $words) = verify_restored("$work/settings");
is($state, '00000', 'no setting of the original hinders the check') or diag($words);
ok(!-e $ran, 'and no trigger of it runs');
like(last_row($node, 'reason'), qr/^recovered to \S+ on timeline 1/, 'the server log is read whatever it was set to');
($state, $words) = call_verbosely($node, "SELECT ese_restore_instance($id, '$work/settings', '$work/restored')");
is($state, '00000', 'it can be restored as well') or diag($words);
system('rm', '-rf', "$work/restored");
$node->safe_psql('postgres', 'ALTER DATABASE app RESET ALL');
$node->safe_psql('postgres', "ALTER ROLE \"$superuser\" IN DATABASE app RESET ALL");
$node->safe_psql('postgres', "ALTER ROLE \"$superuser\" RESET ALL");

# ---- a check that cannot be made is no damage
$node->safe_psql('app', 'DROP EVENT TRIGGER run');
$node->safe_psql('app', 'CREATE FUNCTION pg_catalog.bt_index_check(regclass) RETURNS void LANGUAGE sql AS $$ $$');
backup('occupied');
($state, $words) = verify_restored("$work/occupied");
is($state, 'J1001', 'amcheck cannot be installed in a database') or diag($words);
like($words, qr/the restored databases could not be checked: .*bt_index_check/, 'the message says so, and speaks of no damage');
is(join(' ', glob("$work/*.ese_verify*")), '', 'nothing is left');
$node->safe_psql('app', 'DROP FUNCTION pg_catalog.bt_index_check');

# ---- damage: an index that lacks what its function says now
$node->safe_psql('app', 'CREATE TABLE t AS SELECT g AS n FROM generate_series(1, 100) g');
$node->safe_psql('app', 'CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql AS $$ SELECT $1 $$');
$node->safe_psql('app', 'CREATE INDEX t_f ON t (f(n))');
$node->safe_psql('app', 'CREATE OR REPLACE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql AS $$ SELECT -$1 $$');
backup('damaged_index');
($state, $words) = verify_restored("$work/damaged_index");
is($state, 'J1018', 'a damaged index') or diag($words);
like($words, qr/pg_amcheck has found damage: .*t_f/, 'is named');
$node->safe_psql('app', 'DROP TABLE t');

# ---- a copy with damaged pages
$node->safe_psql('postgres', 'CREATE TABLE rotten AS SELECT g AS n FROM generate_series(1, 2000) g; CHECKPOINT');
my $path = $node->safe_psql('postgres', "SELECT pg_relation_filepath('rotten')");
open(my $file, '+<:raw', $node->data_dir . "/$path") or die;
seek($file, 8192 + 100, 0);
print $file 'damage';
close($file);
($state, $words) = call_verbosely($node, "SELECT ese_backup_instance($id, '$work/rotten')");
is($state, 'J1018', 'a backup finds a damaged page');
($state, $words) = call_verbosely($node, "SELECT ese_verify_backup($id, '$work/rotten')");
is($state, '00000', 'the copy that was kept is as it was made') or diag($words);
like($words, qr/WARNING: .*pages of it were damaged when it was made, in 1 file, first "\Q$path\E"/, 'but a warning says what it is');
($state, $words) = call_verbosely($node, "SELECT ese_restore_instance($id, '$work/rotten', '$work/restored')");
is($state, '00000', 'it can be restored') or diag($words);
like($words, qr/WARNING: .*pages of it were damaged/, 'with the same warning');

# ---- more than is read into memory, or written
sub refused_quickly
{
	my ($name, $damage, $like) = @_;
	system('rm', '-rf', "$work/copy");
	PostgreSQL::Test::Utils::system_or_bail('cp', '-a', "$work/settings", "$work/copy");
	$damage->("$work/copy");
	my ($got, $why) = call_verbosely($node, "SELECT ese_restore_instance($id, '$work/copy', '$work/restored2')");
	isnt($got, '00000', $name);
	like($why, $like, "$name: reason");
	return;
}
my ($logs) = glob("$work/settings/pg_wal/ese_logs.*");
$logs =~ s/.*\///;
refused_quickly('a manifest without end', sub { truncate("$_[0]/backup_manifest", 1 << 36) }, qr/backup manifest in .* is damaged/);
refused_quickly('a log manifest without end', sub { truncate("$_[0]/pg_wal/$logs", 1 << 36) }, qr/$logs" is damaged/);
refused_quickly('an index without end', sub { truncate("$_[0]/pg_wal/ese_backup", 1 << 36) }, qr/ese_backup" is damaged/);
refused_quickly('a small file that is large', sub { truncate("$_[0]/PG_VERSION", 1 << 36) }, qr/"PG_VERSION" does not match/);
my $worker = $node->safe_psql('postgres', 'SELECT worker_pid FROM ese_instance');
my ($peak) = slurp_file("/proc/$worker/status") =~ /VmHWM:\s+(\d+) kB/;
cmp_ok($peak, '<', 300_000, 'the worker took no memory for them');

done_testing();
