# What a verification and a restore demand of logs: every bit of a chain, nothing
# missing, nothing strange, and a recovery that comes to its end.
use strict;
use warnings;

use EseClient;
use EseTest;
use File::Basename qw(basename);
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\nfsync = off\n", initdb => [ '--data-checksums', '--wal-segsize=1' ]);
my $work = PostgreSQL::Test::Utils::tempdir();
my $id = start_instance($node, 'main', circular_log => 'off');
$node->safe_psql('postgres', 'CREATE TABLE marker (n int, t text)');

# A full backup and two incrementals, a marker before each.
sub make_chain
{
	my ($directory, %parameters) = @_;
	$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, '$_', '$parameters{$_}')") for sort keys %parameters;
	for my $n (0 .. 2)
	{
		$node->safe_psql('postgres', "INSERT INTO marker SELECT $n, repeat(md5(g::text), 3) FROM generate_series(1, 2000) g");
		$node->safe_psql('postgres', "SELECT ese_backup_instance($id, '$directory', " . ($n > 0 ? 1 : 0) . ')');
	}
	return;
}

# SQLSTATE and messages of a verification, and of a restore.
sub verify { my ($directory) = @_; return call_verbosely($node, "SELECT ese_verify_backup($id, '$directory')"); }
sub restore { my ($directory) = @_; return call_verbosely($node, "SELECT ese_restore_instance($id, '$directory', '$work/restored')"); }

# Damage a copy: both calls refuse it with this state and these words.
sub refused
{
	my ($name, $from, $damage, $state, $like) = @_;
	my $copy = "$work/damaged";
	system('rm', '-rf', $copy);
	PostgreSQL::Test::Utils::system_or_bail('cp', '-a', $from, $copy);
	$damage->($copy);
	for my $call ([ 'verification', \&verify ], [ 'restore', \&restore ])
	{
		my ($got, $words) = $call->[1]->($copy);
		like($got, qr/^$state$/, "$name: $call->[0]") or diag($words);
		like($words, $like, "$name: $call->[0] gives the reason");
	}
	is(join(' ', glob("$work/restored* $work/*.ese_verify*")), '', "$name: nothing is left");
	return;
}

sub change
{
	my ($path, $at) = @_;
	open(my $file, '+<:raw', $path) or die "$path: $!";
	seek($file, $at, 0);
	read($file, my $byte, 1);
	seek($file, $at, 0);
	print $file chr(ord($byte) ^ 4);
	close($file);
	return;
}

sub segments { my ($directory) = @_; return sort map { basename($_) } grep { m{/[0-9A-F]{24}$} } glob("$directory/pg_wal/*"); }

sub rows_of { my ($data) = @_; return query_restored($node, $data, "SELECT string_agg(DISTINCT n::text, ' ' ORDER BY n::text) FROM marker"); }

# ---- plain
make_chain("$work/plain");
my ($state, $words) = verify("$work/plain");
is($state, '00000', 'a sound chain is verified') or diag($words);
unlike($words, qr/WARNING/, 'without a word');
($state, $words) = restore("$work/plain");
is($state, '00000', 'and restored') or diag($words);
like($words, qr/NOTICE: .*recovered to \w+\/\w+ on timeline 1, last transaction of 20\d\d-/, 'a notice says to which moment');
is(rows_of("$work/restored"), '0 1 2', 'it has all rows');
my $newest = $node->safe_psql('postgres', "SELECT stop_lsn FROM ese_backup_history WHERE kind = 'incremental' ORDER BY backup_id DESC LIMIT 1");
is($node->safe_psql('postgres', "SELECT stop_lsn >= '$newest' AND reason LIKE 'recovered to ' || stop_lsn || ' on timeline ' || timeline || ', last transaction of %' FROM ese_backup_history WHERE kind = 'restore' ORDER BY backup_id DESC LIMIT 1"),
	't', 'so does the history');

my @wal = segments("$work/plain");
my ($first, $last) = map { basename($_) } (sort { $a <=> $b } map { s/.*\.//r } glob("$work/plain/pg_wal/ese_logs.*"))[ 0, -1 ];
cmp_ok(scalar(@wal), '>=', 3, 'it has some segments');
refused('a bit in an incremental', "$work/plain", sub { change("$_[0]/pg_wal/$wal[-2]", 300_000) }, 'J0501', qr/pg_wal\/$wal[-2]" does not match/);
refused('a bit in the full one\'s first segment', "$work/plain", sub { change("$_[0]/pg_wal/$wal[0]", 9) }, 'J0501', qr/$wal[0]/);
refused('a bit behind the end of WAL', "$work/plain", sub { change("$_[0]/pg_wal/$wal[-1]", 1048575) }, 'J0501', qr/pg_wal\/$wal[-1]" does not match/);
refused('the last segment is missing', "$work/plain", sub { unlink("$_[0]/pg_wal/$wal[-1]") }, 'J0528', qr/WAL segment $wal[-1] is missing/);
refused('two segments are exchanged', "$work/plain", sub { rename("$_[0]/pg_wal/$wal[-1]", "$_[0]/x"); rename("$_[0]/pg_wal/$wal[-2]", "$_[0]/pg_wal/$wal[-1]"); rename("$_[0]/x", "$_[0]/pg_wal/$wal[-2]") }, 'J0501', qr/$wal[-2]|$wal[-1]/);
refused('a status is missing', "$work/plain", sub { unlink("$_[0]/pg_wal/archive_status/$wal[-1].done") }, 'J1811', qr/archive_status\/$wal[-1].done" is missing/);
refused('a manifest is missing', "$work/plain", sub { unlink("$_[0]/pg_wal/ese_logs.$last") }, 'J1811', qr/pg_wal\/ese_logs.$last" is missing/);
refused('a bit in a manifest', "$work/plain", sub { change("$_[0]/pg_wal/ese_logs.$first", 200) }, 'J1018', qr/pg_wal\/ese_logs.$first" is damaged/);
refused('the last bits of a manifest', "$work/plain", sub { change("$_[0]/pg_wal/ese_logs.$first", -4 + -s "$_[0]/pg_wal/ese_logs.$first") }, 'J1018', qr/pg_wal\/ese_logs.$first" is damaged/);
refused('the index is missing', "$work/plain", sub { unlink("$_[0]/pg_wal/ese_backup") }, 'J1811', qr/backup index, .* is missing/);
refused('a bit in the index', "$work/plain", sub { change("$_[0]/pg_wal/ese_backup", 100) }, 'J1018', qr/pg_wal\/ese_backup" is damaged/);
refused('a strange file among the logs', "$work/plain", sub { append_to_file("$_[0]/pg_wal/notes", 'x') }, 'J1018', qr/pg_wal\/notes" lies in the backup/);
refused('another timeline\'s segment', "$work/plain", sub { (my $other = $wal[-1]) =~ s/^00000001/00000002/; PostgreSQL::Test::Utils::system_or_bail('cp', "$_[0]/pg_wal/$wal[-1]", "$_[0]/pg_wal/$other") }, 'J1018', qr/pg_wal\/00000002.*" lies in the backup/);
refused('what only looks like a left-over', "$work/plain", sub { append_to_file("$_[0]/pg_wal/notes.ese_new", 'x') }, 'J1018', qr/notes.ese_new" lies in the backup/);
refused('an empty directory', "$work/plain", sub { rmdir("$_[0]/pg_notify") }, 'J1811', qr/directory "pg_notify" is missing/);
for my $name ("pg_wal/$wal[1]", 'global/pg_control', 'base/1/1259')
{
	my $said = basename($name);
	refused("a pipe as $name", "$work/plain", sub { unlink("$_[0]/$name"); POSIX::mkfifo("$_[0]/$name", 0600) or die }, 'J(?:0541|1018|1812)', qr/\Q$said\E/);
}
refused('directories that lie deep in each other', "$work/plain", sub { PostgreSQL::Test::Utils::system_or_bail('mkdir', '-p', "$_[0]/" . 'a/' x 400) }, 'J1023', qr/lie more than 100 deep in each other/);
refused('recovery.signal', "$work/plain", sub { append_to_file("$_[0]/recovery.signal", '') }, 'J1018', qr/recovery.signal" lies in the backup/);
refused('a newer version of the manifest', "$work/plain", sub { system(q(perl -MDigest::SHA=sha256_hex -0777 -pi -e 's/Version": 1,/Version": 7,/; s/("Manifest-Checksum": ")[0-9a-f]+/$1 . sha256_hex($`)/e') . " $_[0]/pg_wal/ese_logs.$first") },
	'J0514', qr/version 7 of the log manifest is not known/);

# ---- segments that were copied by hand: those right behind the end are used
PostgreSQL::Test::Utils::system_or_bail('cp', '-a', "$work/plain", "$work/salvage");
$node->safe_psql('postgres', "INSERT INTO marker SELECT 3, 'x'");
my $beyond = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
PostgreSQL::Test::Utils::system_or_bail('cp', $node->data_dir . "/pg_wal/$beyond", "$work/salvage/pg_wal/");
($state, $words) = verify("$work/salvage");
is($state, '00000', 'a segment behind the end: verified') or diag($words);
like($words, qr/WARNING: .*1 WAL segment behind the end of its logs, .* cannot be verified/, 'with a warning');
($state, $words) = restore("$work/salvage");
is($state, '00000', 'restored') or diag($words);
like($words, qr/WARNING: .*recovered to .*cannot be verified/, 'with a warning');
is(rows_of("$work/restored"), '0 1 2 3', 'and what it has');
refused('behind a hole', "$work/salvage", sub { my ($number) = $beyond =~ /(.{8})$/; rename("$_[0]/pg_wal/$beyond", "$_[0]/pg_wal/" . substr($beyond, 0, 16) . sprintf('%08X', hex($number) + 1)) }, 'J0501', qr/is damaged/);

# ---- a backup that was made before there were manifests
PostgreSQL::Test::Utils::system_or_bail('cp', '-a', "$work/plain", "$work/old");
unlink("$work/old/pg_wal/ese_backup", glob("$work/old/pg_wal/ese_logs.*"));
($state, $words) = verify("$work/old");
is($state, '00000', 'an old backup is verified') or diag($words);
like($words, qr/WARNING: .*its logs cannot be verified/, 'with a warning');
($state, $words) = restore("$work/old");
is($state, '00000', 'and restored') or diag($words);
like($words, qr/WARNING: .*recovered to .*its logs cannot be verified/, 'with a warning');
is(rows_of("$work/restored"), '0 1 2', 'it has all rows');

# ---- without checksums recovery alone tells
make_chain("$work/none", manifest_checksums => 'none');
($state, $words) = restore("$work/none");
is($state, '00000', 'without checksums: restored') or diag($words);
is(rows_of("$work/restored"), '0 1 2 3', 'it has all rows');
PostgreSQL::Test::Utils::system_or_bail('cp', '-a', "$work/none", "$work/short");
@wal = segments("$work/short");
change("$work/short/pg_wal/$wal[-2]", 8192 * 2 + 500 + $_ * 7) for 0 .. 300;
($state, $words) = verify("$work/short");
is($state, 'J0501', 'pg_waldump reads to the end') or diag($words);
($state, $words) = restore("$work/short");
is($state, 'J0501', 'recovery that ends too early') or diag($words);
like($words, qr/recovery has come to \w+\/\w+ on timeline 1 only, in WAL segment $wal[-2], but the logs of the backup reach/, 'says where, and which segment is to blame');
is(join(' ', glob("$work/restored*")), '', 'nothing is left');

# ---- archives
make_chain("$work/tar", manifest_checksums => 'sha256', backup_format => 'tar', backup_compression => 'zstd:1');
($state, $words) = verify("$work/tar");
is($state, '00000', 'archives are verified') or diag($words);
($state, $words) = restore("$work/tar");
is($state, '00000', 'and restored') or diag($words);
is(rows_of("$work/restored"), '0 1 2 3', 'they have all rows');
my ($logs) = map { basename($_) } glob("$work/tar/logs.*.tar.zst");
my ($data) = map { basename($_) } glob("$work/tar/data.1.tar.zst");
for my $archive ($logs, $data, 'logs.tar.zst')
{
	refused("$archive: a bit", "$work/tar", sub { change("$_[0]/$archive", (-s "$_[0]/$archive") / 2) }, 'J1018', qr/archive "\Q$archive\E" of the backup is damaged|does not match/);
	refused("$archive: a byte more", "$work/tar", sub { append_to_file("$_[0]/$archive", 'x') }, 'J1018', qr/archive "\Q$archive\E" of the backup is damaged: it has the wrong size/);
	refused("$archive: missing", "$work/tar", sub { unlink("$_[0]/$archive") }, 'J1811', qr/rchive "\Q$archive\E" is missing/);
}
refused('an archive that nothing lists', "$work/tar", sub { PostgreSQL::Test::Utils::system_or_bail('cp', "$_[0]/$data", "$_[0]/data.9.tar.zst") }, 'J1018', qr/data.9.tar.zst" lies in the backup, but is not in its index/);
refused('an archive twice', "$work/tar", sub { system("zstd -dq $_[0]/$data") }, 'J1018', qr/data.1.tar" lies in the backup/);
refused('a file that nothing lists', "$work/tar", sub { append_to_file("$_[0]/notes", 'x') }, 'J1018', qr/notes" lies in the backup/);
refused('the index is missing', "$work/tar", sub { unlink("$_[0]/ese_backup") }, 'J1811', qr/backup index, .* is missing/);

# ---- a client puts everything into one directory, a differential as well
for my $kind ('differential', 'incremental')
{
	$node->safe_psql('postgres', "INSERT INTO marker VALUES (4), (5), (6)");
	EseClient::backup(dsn($node), $id, "$work/$kind", truncate => 1);
	for my $n (7 .. 9)
	{
		$node->safe_psql('postgres', "INSERT INTO marker VALUES ($n)");
		EseClient::backup(dsn($node), $id, "$work/$kind", incremental => 1, truncate => $kind ne 'differential' || $n == 9);
	}
	($state, $words) = verify("$work/$kind");
	is($state, '00000', "$kind: verified") or diag($words);
	($state, $words) = restore("$work/$kind");
	is($state, '00000', "$kind: restored") or diag($words);
	is(rows_of("$work/restored"), '0 1 2 3 4 5 6 7 8 9', "$kind: it has all rows");
}
my ($second) = (sort { $a <=> $b } map { /(\d+)$/ } glob("$work/incremental/pg_wal/ese_logs.*"))[1];
refused('a link is missing', "$work/incremental", sub { unlink("$_[0]/pg_wal/ese_logs.$second") }, 'J0515', qr/follows backup $second, whose logs are missing/);

# ---- somebody moves the slot of the chain
$node->safe_psql('postgres', 'INSERT INTO marker VALUES (9); SELECT pg_switch_wal()');
$node->safe_psql('postgres', "INSERT INTO marker VALUES (9); SELECT pg_replication_slot_advance('ese_main', pg_current_wal_lsn())");
is($node->safe_psql('postgres', 'SELECT chain_state FROM ese_instance'), 'broken', 'the slot was moved by hand: the chain is broken');
($state, $words) = call_verbosely($node, "SELECT ese_begin_external_backup_instance($id, 1)");
is($state, 'J0569', 'an incremental would leave a gap');
like($words, qr/replication slot "ese_main" was moved by somebody else/, 'and it is said');

done_testing();
