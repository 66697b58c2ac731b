# No message is lost: pieces can be had again, files go on where they were
# closed, a lost Begin is recognised, an old client can touch nothing new.
use strict;
use warnings;

use Digest::SHA qw(sha1_hex);
use EseClient;
use EseTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $data = $node->data_dir;
my $size = 40 * 1024 * 1024 + 12345;

# a file of noise that repeats nowhere
my $noise = '';
$noise .= pack('L', ($_ * 2654435761) & 0xffffffff) for 0 .. $size / 4;
$noise = substr($noise, 0, $size);
append_to_file("$data/noise", '');
{
	open(my $out, '>:raw', "$data/noise") or die;
	print $out $noise;
	close($out);
}

my $id = start_instance($node, 'main');
my $dbh = EseClient::connect_to(dsn($node));
my $other = EseClient::connect_to(dsn($node));

sub open_at { return ($dbh->selectrow_array('SELECT * FROM ese_open_file_instance(?, ?, ?)', undef, $id, @_))[0]; }

sub piece
{
	my ($session, $handle, $bytes, $offset) = @_;
	return EseClient::value($session, 'SELECT ese_read_file_instance(?, ?, ?, ?)', $id, $handle, $bytes, $offset);
}

$dbh->do("SELECT ese_begin_external_backup_instance($id, 0, 'mine')");
my $backup = EseClient::value($dbh, "SELECT ese_backup_id($id)");

# ---- a random walk: pieces of all sizes, some repeated, by two sessions
srand(20261122);
my $handle = open_at('noise', 0);
my ($at, $previous, $wrong, $repeats) = (0, 0, 0, 0);
while ($at < $size)
{
	my $bytes = 8192 * (1 + int(rand(2)) * int(rand(4)) + int(rand(rand() < 0.1 ? 2047 : 60)));
	my $session = rand() < 0.5 ? $dbh : $other;
	my $got = piece($session, $handle, $bytes, rand() < 0.5 ? $at : undef);
	$wrong++ if $got ne substr($noise, $at, $bytes);
	while (rand() < 0.3)
	{
		# the reply got lost: ask for the same piece again
		$wrong++ if piece(rand() < 0.5 ? $dbh : $other, $handle, $bytes, $at) ne $got;
		$repeats++;
	}
	$previous = $at;
	$at += length($got);
}
is($wrong, 0, "every piece is right, and the $repeats repeated ones too");
is(piece($dbh, $handle, 8192, $at), '', 'nothing after the end');
is(piece($dbh, $handle, 8192, $previous), substr($noise, $previous, 8192), 'the last piece can still be had');
piece($dbh, $handle, 16 * 1024 * 1024, undef);
my $message = fails_with($dbh, 'J1003', "SELECT ese_read_file_instance($id, $handle, 8192, 4096)", 'an offset that is neither');
like($message, qr/The position is $size/, 'is told the position');
is(EseClient::value($dbh, "SELECT ese_close_file_instance($id, $handle)"), 0, 'closed');

# ---- the same piece again means the bytes that the checksum is about
$handle = open_at('noise', 0);
piece($dbh, $handle, 8192, 0);
piece($dbh, $handle, 16777216, 8192);
{
	open(my $file, '+<:raw', "$data/noise") or die;
	seek($file, 10000, 0);
	print $file 'changed';
	close($file);
	substr($noise, 10000, 7) = 'changed';
}
is(sha1_hex(piece($dbh, $handle, 16777216, 8192)), sha1_hex(substr($noise, 8192, 16777216)),
	'a large piece that is asked for again comes from the file as it is now');
$at = 8192 + 16777216;

# ---- closing in the middle, and going on in another session
EseClient::value($dbh, "SELECT ese_close_file_instance($id, $handle)");
fails_with($dbh, 'J1003', "SELECT ese_open_file_instance($id, 'noise', 8192)", 'going on elsewhere than where it was closed');
$handle = open_at('noise', $at);
my $rest = '';
while (length(my $next = piece($other, $handle, 1048576, $at)) > 0)
{
	$rest .= $next;
	$at += length($next);
}
is(sha1_hex($rest), sha1_hex(substr($noise, 8192 + 16777216)), 'the rest, in another session');
EseClient::value($other, "SELECT ese_close_file_instance($id, $handle)");
fails_with($dbh, 'J1003', "SELECT ese_open_file_instance($id, 'noise', 8192)", 'a file read to its end has no place to go on');
is($node->safe_psql('postgres', 'SELECT files_done FROM ese_backup_progress'), 1, 'it counts once');

# ---- a session that vanishes leaves the backup usable by another
my $lost = EseClient::connect_to(dsn($node));
$handle = ($lost->selectrow_array("SELECT * FROM ese_open_file_instance($id, 'PG_VERSION')"))[0];
$lost->disconnect;
is(piece($dbh, $handle, 8192, 0), "15\n", 'another session goes on with its handle') if $node->pg_version =~ /^15/;
EseClient::value($dbh, "SELECT ese_close_file_instance($id, $handle)");

# ---- the reply to Begin was lost: it is recognised by its label
my $refusal = fails_with($dbh, 'J0505', "SELECT ese_begin_external_backup_instance($id, 0, 'mine')", 'Begin again');
like($refusal, qr/Backup $backup, label "mine", was begun by /, 'names the open backup');
is($node->safe_psql('postgres', "SELECT backup_id FROM ese_backup_progress WHERE label = 'mine'"), $backup,
	'progress too');

# ---- a client that was away: its backup is gone, another one is open
EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id, 2)");
$handle = do {
	$dbh->do("SELECT ese_begin_external_backup_instance($id, 0, 'somebody else')");
	open_at('noise', 0);
};
for my $call ("ese_get_attach_info_instance($id, $backup)", "ese_get_log_info_instance($id, $backup)",
	"ese_open_file_instance($id, 'PG_VERSION', 0, $backup)", "ese_end_external_backup_instance($id, 1, $backup)",
	"ese_stop_backup_instance($id, true, $backup)")
{
	my $error = fails_with($other, 'J0520', "SELECT $call");
	like($error, qr/Backup $backup of this instance has status "aborted by caller"/, 'and it is told how its backup ended');
}
is($node->safe_psql('postgres', 'SELECT phase, stop_requested, open_files FROM ese_backup_progress'), 'databases|f|1',
	'the other backup is untouched');

# ---- handles are never valid again
my $old = $handle;
EseClient::value($dbh, "SELECT ese_end_external_backup_instance($id, 2)");
$dbh->do("SELECT ese_begin_external_backup_instance($id)");
my %seen = ($old => 1);
for (1 .. 50)
{
	$handle = open_at('PG_VERSION', 0);
	fail("handle $handle came back") if $seen{$handle}++;
	EseClient::value($dbh, "SELECT ese_close_file_instance($id, $handle)");
}
fails_with($dbh, 'J1003', "SELECT ese_read_file_instance($id, $old)", 'a handle of an earlier backup');
fails_with($dbh, 'J1003', "SELECT ese_close_file_instance($id, $old)", 'it cannot be closed either');

# ---- two calls at once on one handle: the second is refused
$handle = open_at('noise', 0);
set_test_points($node, 'read.claimed=wait', $dbh);
$dbh->do("SELECT ese_read_file_instance($id, $handle)", { pg_async => 1 });
wait_for($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = $dbh->{pg_pid} AND wait_event_type = 'Extension'");
like(fails_with($other, 'J1003', "SELECT ese_read_file_instance($id, $handle)", 'a second read'),
	qr/process ID $dbh->{pg_pid}/, 'names who reads');
like(fails_with($other, 'J1003', "SELECT ese_close_file_instance($id, $handle)", 'a close meanwhile'),
	qr/process ID $dbh->{pg_pid}/, 'is refused as well');
set_test_points($node, '');
is(length(($dbh->pg_result ? $dbh->selectrow_array("SELECT 1") : '')), 1, 'the first read succeeds');

# ---- nobody calls for long: the backup is stopped and ended
$node->safe_psql('postgres', "SELECT ese_set_system_parameter($id, 'backup_idle_timeout', '1s')");
wait_for($node, 'SELECT count(*) = 0 FROM ese_backup_progress');
is($node->safe_psql('postgres', 'SELECT status, stop_cause, error_number FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1'),
	'aborted by server|idle timeout|-801', 'the idle timeout ends an abandoned backup');
fails_with($dbh, 'J0801', "SELECT ese_read_file_instance($id, $handle)", 'its handles say so');
fails_with($dbh, 'J0520', "SELECT ese_get_attach_info_instance($id)", 'no backup is open');
is(EseClient::value($dbh, "SELECT ese_begin_external_backup_instance($id)"), 0, 'Begin works at once');
fails_with($dbh, 'J1003', "SELECT ese_read_file_instance($id, $handle)", 'then the handle is just unknown');
$dbh->do("SELECT ese_stop_backup_instance($id)");
wait_for($node, 'SELECT count(*) = 0 FROM ese_backup_progress');
is($node->safe_psql('postgres', 'SELECT status, stop_cause FROM ese_backup_history ORDER BY backup_id DESC LIMIT 1'),
	'aborted by server|user', 'one that was stopped and never ended, ends too');
nothing_held($node, 'in the end');

done_testing();
