# Every backup says what its logs are: a log manifest, and for those that the
# server writes an index of the directory.  Both are read here without the
# extension, and compared with the files and with the history.
use strict;
use warnings;

use EseClient;
use EseTest;
use LogManifest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# small segments: their checksums are computed in Perl
my $node = new_node('main', conf => "autovacuum = off\nwal_keep_size = 0\n",
	initdb => [ '--data-checksums', '--wal-segsize=1' ]);
$node->safe_psql('postgres', 'CREATE TABLE marker (n int)');
my $space = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE space LOCATION '$space'");
$node->safe_psql('postgres', 'CREATE TABLE there TABLESPACE space AS SELECT 1 AS a');
my $id = start_instance($node, 'main', circular_log => 'off');
my $dbh = EseClient::connect_to(dsn($node));
my $work = PostgreSQL::Test::Utils::tempdir();
my $system = $node->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()');

sub set_parameter
{
	my ($name, $value) = @_;
	$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, '$name', '$value')");
	return;
}

# The newest backup, by the history.
sub newest
{
	my @names = qw(backup_id kind start_lsn stop_lsn timeline);
	my %row;
	@row{@names} = split(/\|/, last_row($node, join(', ', @names)));
	return \%row;
}

# The manifest of a backup, compared with its files and its row; "before" is the
# row and the manifest of the one that it follows.
sub check_manifest
{
	my ($directory, $row, $algorithm, $before, $name) = @_;
	my $manifest = read_document("$directory/pg_wal/ese_logs.$row->{backup_id}");
	my %files = map { $_->{Path} => $_ } @{ $manifest->{Files} };
	is($manifest->{'Ese-Log-Manifest-Version'}, 1, "$name: version");
	is(join('|', @$manifest{qw(System-Identifier Instance-Id Instance Backup-Id Kind)}),
		join('|', $system, $id, 'main', $row->{backup_id}, $before ? 'incremental' : 'full'), "$name: whose it is");
	is(join('|', @$manifest{qw(Start-LSN End-LSN Timeline WAL-Segment-Size)}), join('|', @$row{qw(start_lsn stop_lsn timeline)}, 1048576), "$name: where it goes from and to");
	is_deeply($manifest->{Follows}, $before ? { 'Backup-Id' => $before->{row}{backup_id}, 'End-LSN' => $before->{row}{stop_lsn},
			Checksum => $before->{manifest}{'Manifest-Checksum'} } : undef, "$name: what it follows");
	is(join(',', wrong_files($manifest, $directory)), '', "$name: sizes and checksums are those of the files");
	is(join(',', grep { ($_->{'Checksum-Algorithm'} // 'none') ne $algorithm } values %files), '', "$name: checksums by $algorithm");
	my @with = $before ? () : qw(backup_label backup_manifest global/pg_control tablespace_map.original);
	is(join(',', sort grep { !/^pg_wal\// } keys %files), join(',', @with), "$name: what comes with its logs");
	is($manifest->{'Backup-Manifest-Checksum'}, $before ? undef : read_document("$directory/backup_manifest")->{'Manifest-Checksum'}, "$name: its backup_manifest");
	return { row => $row, manifest => $manifest };
}

# No file of the logs is unlisted.
sub check_listed
{
	my ($directory, $name, @links) = @_;
	my %listed = map { $_->{Path} => 1 } map { @{ $_->{manifest}{Files} } } @links;
	my @files = map { s/^\Q$directory\E\///r } grep { -f } glob("$directory/pg_wal/* $directory/pg_wal/archive_status/*");
	is(join(',', grep { !$listed{$_} && !/^pg_wal\/ese_(backup|logs\.\d+)$/ } @files), '', "$name: no log is unlisted");
	return;
}

# The index of a directory, compared with the manifests of its links.
sub check_index
{
	my ($directory, $tar, $name, @links) = @_;
	my $index = read_document($tar ? "$directory/ese_backup" : "$directory/pg_wal/ese_backup");
	is(join('|', @$index{qw(Ese-Backup-Index-Version System-Identifier Instance-Id Instance Format State)}, $index->{Adding} // 'none'),
		join('|', 1, $system, $id, 'main', $tar ? 'tar' : 'plain', 'complete', 'none'), "$name: the index");
	is(join("\n", map { join('|', @$_{qw(Backup-Id Kind Start-LSN End-LSN Timeline Log-Manifest Checksum)}) } @{ $index->{Links} }),
		join("\n", map { my $m = $_->{manifest}; join('|', @$m{qw(Backup-Id Kind Start-LSN End-LSN Timeline)}, "pg_wal/ese_logs.$m->{'Backup-Id'}", $m->{'Manifest-Checksum'}) } @links),
		"$name: its links");
	my @archives = map { "$_->{Name} $_->{Size}" } @{ $index->{Archives} };
	is(join("\n", sort @archives), join("\n", map { my $n = s/.*\///r; "$n " . (-s $_) } sort glob("$directory/*.tar*")), "$name: its archives");
	# Perl is slow
	my @small = grep { $_->{Size} < 1500000 } @{ $index->{Archives} };
	is(join(',', map { $_->{Name} } grep { checksum_of('CRC32C', "$directory/$_->{Name}") ne $_->{Checksum} } @small), '', "$name: their checksums");
	return;
}

# Move some WAL, and switch: it is never the same twice.
my $n = 0;
sub load
{
	$n++;
	$node->safe_psql('postgres', "INSERT INTO marker SELECT $n FROM generate_series(1, 5000); SELECT pg_switch_wal(); INSERT INTO marker VALUES ($n)");
	return;
}

# ---- a full backup and two incrementals, in every form
my @forms = (
	{ name => 'plain', native => 1, digest => 'sha256' },
	{ name => 'plain, no checksums', native => 1, digest => 'none' },
	{ name => 'tar', native => 1, format => 'tar', digest => 'sha256' },
	{ name => 'tar, lz4', native => 1, format => 'tar', compression => 'lz4', digest => 'sha256' },
	{ name => 'tar, zstd', native => 1, format => 'tar', compression => 'zstd:1', digest => 'sha256' },
	{ name => 'files', digest => 'crc32c' },
	{ name => 'streams, zstd', streams => 1, sessions => 3, compression => 'zstd:1', digest => 'sha256' });
for my $form (@forms)
{
	my $place = "$work/" . $form->{name} =~ s/\W+/_/gr;
	my @links;
	set_parameter('backup_format', $form->{format} // 'plain');
	set_parameter('backup_compression', $form->{compression} // 'none');
	set_parameter('manifest_checksums', $form->{digest});
	for my $link (0 .. 2)
	{
		my $name = "$form->{name}, $link";
		load();
		if ($form->{native})
		{
			$dbh->do("SELECT ese_backup_instance($id, '$place', " . ($link ? 1 : 0) . ')');
		}
		else
		{
			EseClient::backup(dsn($node), $id, $place, truncate => 1, incremental => $link > 0, sessions => 2, %$form);
		}
		my $directory = $place;
		if ($form->{format})
		{
			$directory = "$place.extracted";
			EseTest::extract($place, $directory);
		}
		push @links, check_manifest($directory, newest(), $form->{digest} eq 'none' ? 'none' : uc($form->{digest}), $links[-1], $name);
		check_index($place, $form->{format}, $name, @links) if $form->{native};
		check_listed($directory, $name, @links);
	}
	command_ok([ 'pg_verifybackup', $place ], "$form->{name}: pg_verifybackup") if !$form->{format};
}

# ---- what a restored cluster has of it does no harm, and does not come again
my $restored = restore_and_check($node, 'restored', "$work/plain");
is($restored->safe_psql('postgres', 'SELECT count(*) > 0 FROM marker'), 't', 'a copy with the extra files starts');
$restored->safe_psql('postgres', 'CHECKPOINT; SELECT pg_switch_wal(); CHECKPOINT');
my $other = $restored->safe_psql('postgres', q{SELECT ese_create_instance('other')});
$restored->safe_psql('postgres', "SELECT ese_init($other)");
ok(-e $restored->data_dir . '/pg_wal/ese_backup', 'which has them');
$restored->safe_psql('postgres', "SELECT ese_backup_instance($other, '$work/again')");
my $again = $restored->safe_psql('postgres', 'SELECT max(backup_id) FROM ese_backup_history');
is(join(',', map { s/.*\///r } glob("$work/again/pg_wal/ese_logs.*")), "ese_logs.$again", 'its backup has its own manifest alone');
is(read_document("$work/again/pg_wal/ese_backup")->{Instance}, 'other', 'and its own index');
$restored->stop;

# ---- over SQL it is one of the patch files: the last one
set_parameter('backup_compression', 'none');
set_parameter('manifest_checksums', 'sha256');
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
my $backup = EseClient::value($dbh, "SELECT ese_backup_id($id)");
my $early = "$work/early";
mkdir($early, 0700);
EseClient::read_files(dsn($node), $id, $early, 1, EseClient::list_attached($dbh, $id, $early));
my @shown = @{ $dbh->selectall_arrayref("SELECT file_name, kind, file_size FROM ese_get_log_info_instance($id)") };
is("$shown[-1][0] $shown[-1][1]", "pg_wal/ese_logs.$backup patch", 'it is listed last, as a patch file');

# read first, when no digest is known yet
EseClient::read_file($dbh, $id, $shown[-1][0], $early);
is(-s "$early/$shown[-1][0]", $shown[-1][2], 'its size was known before');
EseClient::read_files(dsn($node), $id, $early, 1, map { $_->[0] } @shown[0 .. $#shown - 1]);
is(join(',', wrong_files(read_document("$early/$shown[-1][0]"), $early)), '', 'who reads it first gets the right one');
is(EseClient::value($dbh, 'SELECT ese_end_external_backup_instance(?)', $id), 0, 'and End is good');

# left out
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
EseClient::read_files(dsn($node), $id, $early, 1, EseClient::list_attached($dbh, $id, $early));
@shown = @{ $dbh->selectall_arrayref("SELECT file_name FROM ese_get_log_info_instance($id)") };
EseClient::read_files(dsn($node), $id, $early, 1, map { $_->[0] } @shown[0 .. $#shown - 1]);
like(fails_with($dbh, 'J0616', "SELECT ese_truncate_log_instance($id)", 'TruncateLog without it'), qr/"pg_wal\/ese_logs\.\d+" has not been read/, 'says so');
is(EseClient::value($dbh, 'SELECT ese_end_external_backup_instance(?)', $id), -800, 'End without it');

# a log that is not what the manifest said when that was read
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
EseClient::read_files(dsn($node), $id, $early, 1, EseClient::list_attached($dbh, $id, $early));
@shown = @{ $dbh->selectall_arrayref("SELECT file_name, kind FROM ese_get_log_info_instance($id)") };
EseClient::read_file($dbh, $id, $shown[-1][0], $early);
my ($log) = map { $_->[0] } grep { $_->[1] eq 'log' } @shown;
open(my $segment, '+<:raw', $node->data_dir . "/$log") or die;
seek($segment, 1048000, 0);
read($segment, my $byte, 1);
seek($segment, 1048000, 0);
print $segment chr(ord($byte) ^ 1);
close($segment);
EseClient::read_files(dsn($node), $id, $early, 1, map { $_->[0] } @shown[0 .. $#shown - 1]);
is(EseClient::value($dbh, 'SELECT ese_end_external_backup_instance(?)', $id), -612, 'a log that has changed since');
like(last_row($node, 'reason'), qr/\Q$log\E/, 'is named');

# ---- a standby: the segment in which its logs end is written on meanwhile
$dbh->disconnect;
$node->safe_psql('postgres', $_) for 'DROP TABLE there', 'DROP TABLESPACE space';
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$id = start_instance($standby, 'standby', circular_log => 'off');
$standby->safe_psql('postgres', "SELECT ese_set_system_parameter($id, 'manifest_checksums', 'sha256')");
$dbh = EseClient::connect_to(dsn($standby));
my $place = "$work/standby";
mkdir($place, 0700);
$node->safe_psql('postgres', 'INSERT INTO marker SELECT 1 FROM generate_series(1, 100)');
$node->wait_for_catchup($standby);
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
EseClient::read_files(dsn($standby), $id, $place, 2, EseClient::list_attached($dbh, $id, $place));
@shown = @{ $dbh->selectall_arrayref("SELECT file_name FROM ese_get_log_info_instance($id)") };
EseClient::read_file($dbh, $id, $shown[-1][0], $place);
my ($last) = reverse grep { /[0-9A-F]{24}$/ } map { $_->[0] } @shown;
EseClient::read_file($dbh, $id, $last, $place);
my $first_read = slurp_file("$place/$last");
$node->safe_psql('postgres', 'INSERT INTO marker SELECT 2 FROM generate_series(1, 100)');
$node->wait_for_catchup($standby);
EseClient::read_files(dsn($standby), $id, $place, 1, map { $_->[0] } @shown[0 .. $#shown - 1]);
$dbh->do("SELECT ese_truncate_log_instance($id)");
is(EseClient::value($dbh, 'SELECT ese_end_external_backup_instance(?)', $id), 0, 'a full backup of a standby');
$n = $standby->safe_psql('postgres', "SELECT backup_id FROM ese_backup_history WHERE instance_id = $id");
my $manifest = read_document("$place/pg_wal/ese_logs.$n");
is(join(',', wrong_files($manifest, $place)), '', 'what was delivered is what its manifest says');
my $end = hex($manifest->{'End-LSN'} =~ s/.*\///r) % 1048576;
ok(slurp_file("$place/$last") eq $first_read && substr($first_read, $end) !~ /[^\0]/, 'the last segment ends where the backup does');
isnt(substr(slurp_file($standby->data_dir . "/$last"), $end), substr($first_read, $end), 'and not where WAL has come to');

# the same, written by the server, of a chain of its own
my $native = start_instance($standby, 'native');
$dbh->do("SELECT ese_backup_instance($native, '$work/standby_native')");
my $own = read_document(glob("$work/standby_native/pg_wal/ese_logs.*"));
is(join(',', wrong_files($own, "$work/standby_native")), '', 'native, of a standby: what was written is what its manifest says');
($last) = reverse grep { /[0-9A-F]{24}$/ } sort map { $_->{Path} } @{ $own->{Files} };
$end = hex($own->{'End-LSN'} =~ s/.*\///r) % 1048576;
ok(substr(slurp_file("$work/standby_native/$last"), $end) !~ /[^\0]/, 'and the last segment ends where the backup does');

# ---- a timeline switch
my $before = { row => { backup_id => $n, stop_lsn => $manifest->{'End-LSN'} }, manifest => $manifest };
$standby->promote;
$standby->safe_psql('postgres', 'INSERT INTO marker VALUES (3)');
EseClient::backup(dsn($standby), $id, $place, incremental => 1);
$n = $standby->safe_psql('postgres', "SELECT max(backup_id) FROM ese_backup_history WHERE instance_id = $id");
$manifest = read_document("$place/pg_wal/ese_logs.$n");
is(join(',', map { $_->{Timeline} } @{ $manifest->{'WAL-Ranges'} }), '2,1', 'an incremental across a promotion has WAL of two timelines');
is($manifest->{'WAL-Ranges'}[0]{'Start-LSN'}, $manifest->{'WAL-Ranges'}[1]{'End-LSN'}, 'without a gap');
is($manifest->{Timeline}, 2, 'and ends on the new one');
is($manifest->{Follows}{Checksum}, $before->{manifest}{'Manifest-Checksum'}, 'it follows the one of before');
is(join(',', wrong_files($manifest, $place)), '', 'its files are what it says');
ok((grep { $_->{Path} eq 'pg_wal/00000002.history' } @{ $manifest->{Files} }), 'with the history of the timeline');
$standby->stop;

# ---- a copy with a damaged page says so
$id = $node->safe_psql('postgres', q{SELECT instance_id FROM ese_instance WHERE name = 'main'});
$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, 'backup_format', 'plain'); SELECT ese_set_system_parameter($id, 'backup_compression', 'none')");
my $damaged = $node->safe_psql('postgres', q{CREATE TABLE rotten AS SELECT 1 AS a; SELECT pg_relation_filepath('rotten')});
$node->safe_psql('postgres', 'CHECKPOINT');
open(my $relation, '+<:raw', $node->data_dir . "/$damaged") or die;
seek($relation, 8000, 0);
print $relation 'x';
close($relation);
$dbh = EseClient::connect_to(dsn($node));
fails_with($dbh, 'J1018', "SELECT ese_backup_instance($id, '$work/damaged')", 'a damaged page');
my $index = read_document("$work/damaged/pg_wal/ese_backup");
is("$index->{State} " . join(',', map { $_->{Path} } @{ $index->{Damaged} }), "damaged $damaged", 'the index of what is kept names the file');

done_testing();
