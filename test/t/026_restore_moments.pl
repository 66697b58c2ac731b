# The moment that a restore comes to: always said, never another one than was
# asked for; also of idle clusters, of standbys, and over timelines.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\nfsync = off\nwal_keep_size = 64MB\n", initdb => [ '--data-checksums', '--wal-segsize=1' ]);
my $work = PostgreSQL::Test::Utils::tempdir();
my $id = start_instance($node, 'main', circular_log => 'off');
$node->safe_psql('postgres', 'CREATE TABLE marker (n int, t text)');

sub backup { my ($server, $instance, $path, $grbit) = @_; $server->safe_psql('postgres', "SELECT ese_backup_instance($instance, '$path', $grbit)"); return; }
sub now { return $node->safe_psql('postgres', 'SELECT clock_timestamp()'); }
sub restore { my ($source, $target) = @_; return call_verbosely($node, "SELECT ese_restore_instance($id, '$source', '$work/restored'" . ($target ? ", $target" : '') . ')'); }
sub rows { return query_restored($node, "$work/restored", "SELECT string_agg(DISTINCT n::text, ' ' ORDER BY n::text) FROM marker"); }

sub restores_to
{
	my ($name, $source, $rows, $like, $target) = @_;
	my ($state, $words) = restore($source, $target);
	is($state, '00000', $name) or diag($words), return;
	like($words, $like, "$name: which moment");
	is(rows(), $rows, "$name: rows");
	return;
}

sub refused
{
	my ($name, $source, $target, $wanted, $like, $hint) = @_;
	my ($state, $words) = restore($source, $target);
	is($state, $wanted, $name) or diag($words);
	like($words, $like, "$name: reason");
	like($words, $hint, "$name: hint");
	is(join(' ', glob("$work/restored*")), '', "$name: nothing is left");
	return;
}

# ---- before the backup
$node->safe_psql('postgres', 'CREATE TABLE dropped (n int)');
my $time_before = now();
my $lsn_before = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', 'DROP TABLE dropped');
backup($node, $id, "$work/full", 0);
my $time_0 = now();
$node->safe_psql('postgres', 'INSERT INTO marker VALUES (0)');
my $time_1 = now();
$node->safe_psql('postgres', "INSERT INTO marker VALUES (1); SELECT pg_create_restore_point('one')");
backup($node, $id, "$work/full", 1);
refused('a time before it', "$work/full", "target_time => '$time_before'", 'J0554', qr/the target, .*, lies before the full backup, which was complete at /, qr/HINT:  Restore an older backup/);
refused('a location before it', "$work/full", "target_lsn => '$lsn_before'", 'J0554', qr/the target, $lsn_before, lies before the end of the full backup/, qr/HINT:  Restore an older backup/);
restores_to('a time right behind it', "$work/full", '', qr/NOTICE: .*recovered to \S+ on timeline 1 \(before 20.*\), /, "target_time => '$time_0'");
restores_to('a time between', "$work/full", '0', qr/NOTICE: .*recovered to \S+ on timeline 1 \(before 20.*\), last transaction of 20/, "target_time => '$time_1'");
restores_to('a restore point', "$work/full", '0 1', qr/\(at restore point "one"\)/, "target_name => 'one'");

# ---- behind the logs
my $reach = qr/recovery ended before configured recovery target was reached: the logs of the backup reach \w+\/\w+, and the last transaction in them is of 20\d\d-/;
my $hint = qr/HINT:  .*take one more incremental backup first, then restore/;
refused('a time behind its logs', "$work/full", "target_time => '" . now() . "'", 'J0553', $reach, $hint);
refused('a location behind them', "$work/full", "target_lsn => '7/0'", 'J0553', $reach, $hint);
refused('a restore point that is not in them', "$work/full", "target_name => 'two'", 'J0553', $reach, $hint);
like(last_row($node, 'reason'), $reach, 'the history says the same');

# ---- nothing happens between incrementals: they end where a segment begins
backup($node, $id, "$work/full", 1) for 1 .. 3;
restores_to('an idle cluster', "$work/full", '0 1', qr/recovered to \S+ on timeline 1, last transaction of 20/);
is($node->safe_psql('postgres', "SELECT ese_verify_backup($id, '$work/full')"), '0', 'and verified');

# ---- a standby: its incrementals end with segments, mostly within a record
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
my $on_standby = start_instance($standby, 'standby', circular_log => 'off');
$node->wait_for_catchup($standby);
backup($standby, $on_standby, "$work/standby", 0);
for my $n (2 .. 4)
{
	$node->safe_psql('postgres', "INSERT INTO marker SELECT $n, repeat(md5(g::text), 60) FROM generate_series(1, 1200) g");
	$node->wait_for_catchup($standby);
	backup($standby, $on_standby, "$work/standby", 1);
}
is($standby->safe_psql('postgres', "SELECT ese_verify_backup($on_standby, '$work/standby')"), '0', 'a chain of a standby: verified');
my ($state, $words) = restore("$work/standby");
is($state, '00000', 'restored') or diag($words);
like(rows(), qr/^0 1 2 3/, 'it has what whole segments have');
backup($standby, $on_standby, "$work/standby", 1);
is((restore("$work/standby"))[0], '00000', 'so is one to which nothing was added');
rows();

# ---- archives of a standby: the full one's last segment comes again, longer
my $archives = start_instance($standby, 'archives', circular_log => 'off', backup_format => 'tar', backup_compression => 'lz4');
backup($standby, $archives, "$work/archives", 0);
$node->safe_psql('postgres', "INSERT INTO marker SELECT 40, repeat(md5(g::text), 60) FROM generate_series(1, 1200) g");
$node->wait_for_catchup($standby);
backup($standby, $archives, "$work/archives", 1);
is($standby->safe_psql('postgres', "SELECT ese_verify_backup($archives, '$work/archives')"), '0', 'archives of a standby: verified');
is((restore("$work/archives"))[0], '00000', 'and restored');
like(rows(), qr/^0 1 2 3 4/, 'they have what whole segments have');

# ---- promoted: the chain goes over to the next timeline
$standby->promote;
$standby->safe_psql('postgres', 'INSERT INTO marker VALUES (5)');
backup($standby, $on_standby, "$work/standby", 1);
restores_to('over a timeline', "$work/standby", '0 1 2 3 4 40 5', qr/recovered to \S+ on timeline 2, last transaction of 20/);
is($standby->safe_psql('postgres', "SELECT ese_verify_backup($on_standby, '$work/standby')"), '0', 'and verified');
PostgreSQL::Test::Utils::system_or_bail('cp', '-a', "$work/standby", "$work/one");
unlink("$work/one/pg_wal/00000002.history");
refused('without the history of the timeline', "$work/one", '', 'J1811', qr/00000002.history" is missing/, qr/J1811/);

done_testing();
