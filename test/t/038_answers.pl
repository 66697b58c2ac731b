# What the answers say: which call is wrong and what comes next, which files
# keep a backup from being good, who has stopped it, what ese_check_instance
# counts as a backup.
use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\n");
my $id = start_instance($node, 'main');
my $dbh = EseClient::connect_to(dsn($node));
my $work = PostgreSQL::Test::Utils::tempdir();
my @warnings;
$dbh->{PrintWarn} = 0;
$dbh->do('SET client_min_messages = warning');

sub value { return EseClient::value($dbh, @_); }

sub refusal
{
	my ($state, $sql, @patterns) = @_;
	my $said = fails_with($dbh, $state, $sql);
	like($said, $_, "$sql: says $_") for @patterns;
	return;
}

# Psql shows warnings with their hints.
sub said
{
	my ($sql) = @_;
	$node->psql('postgres', $sql, stdout => \my $out, stderr => \my $err);
	return "$out\n$err";
}

# ---- options
refusal('J0900', "SELECT ese_begin_external_backup_instance($id, ese_grbit('JET_bitBackupAtomic'))",
	qr/ese_begin_external_backup_instance does not accept JET_bitBackupAtomic/, qr/HINT:  Only ese_backup_instance\(\) writes atomic backups/);
refusal('J0900', "SELECT ese_backup_instance($id, '$work/x', ese_grbit('JET_bitInternalCopy') | 1024)",
	qr/does not accept JET_bitInternalCopy \| 0x00000400/, qr/HINT:  It accepts JET_bitBackupIncremental, JET_bitBackupAtomic/);
refusal('J0900', "SELECT ese_term($id, 64)", qr/ese_term does not accept 0x00000040/, qr/HINT:  It accepts JET_bitTermComplete/);
is(value("SELECT accepted_by FROM ese_constant WHERE name = 'JET_bitBackupAtomic'"), 'ese_backup_instance', 'ese_constant says who accepts a bit');
is(value("SELECT count(*) FROM ese_constant WHERE accepted_by IS NOT NULL"), 9, 'and that most have no taker');

# ---- the wrong phase
value("SELECT ese_begin_external_backup_instance($id)");
my $backup = value("SELECT ese_backup_id($id)");
refusal('J0521', "SELECT ese_truncate_log_instance($id)", qr/ese_truncate_log_instance cannot be called now/,
	qr/Backup $backup of instance "main" is in its databases phase/, qr/HINT:  Call ese_get_log_info_instance\($id\)/);
my ($handle) = $dbh->selectrow_array("SELECT * FROM ese_open_file_instance($id, 'PG_VERSION')");
refusal('J0521', "SELECT * FROM ese_get_log_info_instance($id)", qr/ese_get_log_info_instance cannot be called now/, qr/open handles: $handle\b/,
	qr/HINT:  Close them with ese_close_file_instance/);
for my $bits (64, 2048 | 1, 1 << 31)
{
	my $signed = unpack('l', pack('L', $bits));
	refusal('J0900', "SELECT ese_end_external_backup_instance($id, $signed)", qr/does not accept 0x/, qr/JET_bitBackupEndNormal, JET_bitBackupEndAbort/);
}
is(value("SELECT ese_backup_id($id)"), $backup, 'an End that is refused ends nothing');

# ---- files that were not read, by name
is(value("SELECT state FROM ese_unread_files($id) WHERE file_name = 'PG_VERSION'"), 'open', 'an open file is listed as open');
my $all = value("SELECT count(*) FROM ese_get_attach_info_instance($id) WHERE kind <> 'directory'");
is(value("SELECT count(*) FROM ese_unread_files($id)"), $all, 'so are all others');
is(value("SELECT count(DISTINCT state) FROM ese_unread_files($id)"), 2, 'in two states');
1 while length value("SELECT ese_read_file_instance($id, $handle)");
value("SELECT ese_close_file_instance($id, $handle)");
is(value("SELECT count(*) FROM ese_unread_files($id, $backup)"), $all - 1, 'what was read and closed is not');
my $warning = said("SELECT count(*) FROM ese_get_log_info_instance($id)");
my @first = @{ $dbh->selectcol_arrayref("SELECT file_name FROM ese_unread_files($id) WHERE kind IN ('relation', 'file') LIMIT 5") };
my $left = $all - 1 - 5;
my $names = join(', ', map { "\"$_\"" } @first);
like($warning, qr/WARNING:  @{[ $all - 1 ]} files of the attach list have not been read: \Q$names\E and $left more.*HINT:  ese_unread_files\($id\) lists them/s,
	'GetLogInfo names the first five and where the rest is');
refusal('J0521', "SELECT * FROM ese_open_file_instance($id, 'global/1260')", qr/file "global\/1260" cannot be opened any more/, qr/logs phase/,
	qr/HINT:  .*ese_get_log_info_instance/);
$warning = said("SELECT ese_end_external_backup_instance($id)");
like($warning, qr/^-800$/m, 'End of an incomplete backup');
like($warning, qr/backup $backup of instance "main" is not usable: \d+ files were not read to their end and closed: \Q$names\E and \d+ more/, 'says which');
like($warning, qr/HINT:  ese_unread_files\($id, $backup\) lists the files/, 'and where the rest is');
cmp_ok(value("SELECT count(*) FROM ese_unread_files($id, $backup)"), '>', $all, 'it lists them after the end as well');
refusal('J0520', "SELECT * FROM ese_unread_files($id, 4711)", qr/backup 4711/);

# ---- ese_check carries the reason, in the session of End
value("SELECT ese_begin_external_backup_instance($id)");
$dbh->selectall_arrayref("SELECT * FROM ese_get_log_info_instance($id)");
refusal('J0800', "SELECT ese_check(ese_end_external_backup_instance($id))", qr/is not usable: \d+ files were not read to their end and closed: "/,
	qr/HINT:  ese_unread_files/);
refusal('J0801', 'SELECT ese_check(-801)', qr/ERROR:  (?!backup \d)/);
$node->safe_psql('postgres', 'CREATE ROLE other; GRANT other TO CURRENT_USER');
$dbh->do('SET ROLE other');
refusal('J0800', 'SELECT ese_check(-800)', qr/ERROR:  (?!backup \d)/);
$dbh->do('RESET ROLE');

# ---- who has stopped it
value("SELECT ese_begin_external_backup_instance($id)");
my $stopped = value("SELECT ese_backup_id($id)");
($handle) = $dbh->selectrow_array("SELECT * FROM ese_open_file_instance($id, 'PG_VERSION')");
$node->safe_psql('postgres', 'CREATE ROLE on_call LOGIN');
$node->safe_psql('postgres', 'GRANT EXECUTE ON FUNCTION ese_stop_backup_instance(integer, boolean, bigint) TO on_call');
$node->safe_psql('postgres', "SELECT ese_stop_backup_instance($id)", extra_params => [ '-U', 'on_call' ]);
refusal('J0801', $_, qr/Backup $stopped was stopped by on_call at .* \(user\)/)
  for ("SELECT ese_read_file_instance($id, $handle)", "SELECT * FROM ese_get_attach_info_instance($id)");
value("SELECT ese_end_external_backup_instance($id, 2)");

# ---- damaged is not unreadable, and one is not many
append_to_file($node->data_dir . "/base/5/$_", "\0" x 8 . 'x' x 8184) for (99998, 99999);
refusal('J1018', "SELECT ese_backup_instance($id, '$work/damaged')", qr/2 files have damaged pages: "base\/5\/99998", "base\/5\/99999"/);
unlink($node->data_dir . '/base/5/99998');
refusal('J1018', "SELECT ese_backup_instance($id, '$work/damaged2')", qr/: 1 file has damaged pages: "base\/5\/99999"/);
is(value("SELECT string_agg(file_name || ' ' || state, ' ') FROM ese_unread_files($id)"), 'base/5/99999 damaged', 'ese_unread_files tells the same');

# ---- ese_check_instance
my %check;
sub look_at_checks
{
	my $rows = $dbh->selectall_arrayref("SELECT * FROM ese_check_instance($id)");
	%check = map { $_->[0] => ($_->[1] ? 'good: ' : 'bad: ') . $_->[2] } @$rows;
	return;
}
my $failed = value('SELECT max(backup_id) FROM ese_backup_history');
look_at_checks();
is($check{'last good backup'}, 'bad: No backup was good yet.', 'before the first good backup');
like($check{'last backup'}, qr/^bad: Backup $failed, begun at .*, failed: JET_errReadVerifyFailure \(-1018\): 1 file has damaged pages/, 'the last one failed');
like($check{'damaged pages'}, qr/^bad: Backup $failed found 1 damaged page; the view ese_checksum_failure/, 'pages are damaged');
value("SELECT ese_begin_external_backup_instance($id)");
value("SELECT ese_end_external_backup_instance($id, 2)");
look_at_checks();
like($check{'damaged pages'}, qr/^bad: Backup $failed found 1 damaged page/, 'one that has read nothing does not change that');
unlink($node->data_dir . '/base/5/99999');
value("SELECT ese_backup_instance($id, '$work/good')");
my $good = value('SELECT max(backup_id) FROM ese_backup_history');
value("SELECT ese_verify_backup($id, '$work/good')");
value("SELECT ese_restore_instance($id, '$work/good', '$work/restored')");
look_at_checks();
like($check{'last good backup'}, qr/^good: The last good backup, $good, was begun at/, 'a verification and a restore are no backups');
like($check{'last backup'}, qr/^good: Backup $good, begun at/, 'the last one is good');
like($check{'damaged pages'}, qr/^good: Backup $good found none/, 'and found no damaged page');

done_testing();
