# The scripts of the README fail when a part of them fails: a full disk, a tar
# that cannot write, a server that says no.  And its quick start ends.
use strict;
use warnings;

use EseClient;
use EseTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\n");
my $id = start_instance($node, 'main');
my $readme = slurp_file('README.md');
my ($script) = $readme =~ /<!-- parallel -->\n```sh\n(.*?)```/s;
my ($quick) = $readme =~ /<!-- quick start -->\n```sql\n(.*?)```/s;
ok($script && $quick, 'the README has a script and a quick start');
my $work = PostgreSQL::Test::Utils::tempdir();
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'postgres';

# Run the script in a directory, perhaps by another command than bash; its
# status, and what it printed.
sub run_script
{
	my ($directory, $text, @command) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ @command, 'bash', '-c', "cd $directory\n$text" ], '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

# It has failed, printed no 0, and left no backup that is open or good.
sub failed_well
{
	my ($name, $status, $out, $err) = @_;
	isnt($status, 0, "$name: the script fails") or diag("$out\n$err");
	unlike($out, qr/^0$/m, "$name: and prints no 0");
	is($node->safe_psql('postgres', "SELECT count(*) FROM ese_backup_history WHERE status = 'completed'"), 0, "$name: no backup is good");
	nothing_held($node, "$name: nothing is held");
	return;
}

# ---- tar fails, early or late, in one of the streams or in all
for my $case ([ 'all fail at once', 'cat > /dev/null; exit 2' ], [ 'one fails', 'if mkdir first 2> /dev/null; then cat > /dev/null; exit 2; fi; exec /usr/bin/tar "$@"' ],
	[ 'all fail before the end', 'head -c 1000000 > /dev/null; exit 2' ])
{
	my ($name, $text) = @$case;
	my $place = "$work/" . ($name =~ s/ /_/gr);
	mkdir($place);
	mkdir("$place/bin");
	append_to_file("$place/bin/tar", "#!/bin/sh\n$text\n");
	chmod(0755, "$place/bin/tar");
	local $ENV{PATH} = "$place/bin:$ENV{PATH}";
	failed_well("tar, $name", run_script($place, $script));
}

# ---- a full disk: a small file system that only the script sees
SKIP:
{
	my $small = "$work/small";
	mkdir($small);
	my @apart = ('unshare', '-Um', "--map-user=$>", '--map-group=' . ($) + 0), '--keep-caps', 'sh', '-c', "mount -t tmpfs -o size=10m none '$small' && exec \"\$@\"", 'sh');
	skip 'no file system can be mounted here', 5 if system("@apart[0 .. 6] \"mount -t tmpfs none '$small'\" 2> /dev/null") != 0;
	my ($status, $out, $err) = run_script($small, $script, @apart);
	like($err, qr/No space left on device/, 'the disk is full');
	failed_well('a full disk', $status, $out, $err);
}

# ---- the server says no
failed_well('no instance', run_script($work, $script =~ s/'main'/'none'/r));
$node->safe_psql('postgres', "SELECT ese_begin_external_backup_instance($id)");
my ($status, $out) = run_script($work, $script);
isnt($status, 0, 'a backup is open already: the script fails');
is($node->safe_psql('postgres', "SELECT ese_backup_id($id) IS NOT NULL"), 't', 'and leaves that of the other alone');
$node->safe_psql('postgres', "SELECT ese_end_external_backup_instance($id, 2)");
($status, $out) = run_script($work, $script);
is("$status $out", "0 0\n", 'and when nothing is wrong it prints 0');

# ---- the quick start, with a file that is there and the handle that Open gives
my $dbh = EseClient::connect_to(dsn($node));
$dbh->do('SET client_min_messages = error');
my ($handle, $pieces) = (undef, 0);
for my $line (split(/\n/, $quick))
{
	my $sql = $line =~ s/;.*//r;
	$sql =~ s/1456210049/$handle/ if defined $handle;
	my $again = $line =~ /repeat until it is empty/;
	my $row = eval { $dbh->selectrow_arrayref($sql) };
	if ($line =~ /ese_check/)
	{
		is($dbh->state, 'J0800', 'End knows that one file is no backup');
		next;
	}
	ok(!$@, $sql) or diag($@);
	($handle) = @$row if $line =~ /ese_open_file/;
	while ($again && length($row->[0]) && $pieces++ < 100)
	{
		$row = $dbh->selectrow_arrayref($sql);
	}
}
cmp_ok($pieces, '>', 0, 'the file was read');
cmp_ok($pieces, '<', 100, 'and reading it came to an end');

done_testing();
