# A small backup client over SQL, for the demo and the tests.
#
# It does what the README tells a client to do: Begin, list, read every file
# (several sessions at a time), list the logs, read them, End.
package EseClient;

use strict;
use warnings;

use DBD::Pg ();
use DBI ();
use File::Basename qw(dirname);
use File::Path qw(make_path);
use POSIX ();

our $PIECE = 1024 * 1024;

# Connect; $dsn is what follows "dbi:Pg:".
sub connect_to
{
	my ($dsn, %options) = @_;
	my $dbh = DBI->connect("dbi:Pg:$dsn", $options{user} // undef, '',
		{ RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1 });
	$dbh->{pg_enable_utf8} = 0;
	return $dbh;
}

# One value of a query.
sub value
{
	my ($dbh, $sql, @bind) = @_;
	return scalar $dbh->selectrow_array($sql, undef, @bind);
}

# The bytes of a file name as SQL shows it.
sub file_name
{
	my ($shown) = @_;
	return $shown if $shown !~ /^E'(.*)'$/s;
	my $name = $1;
	$name =~ s/\\(?:x([0-9a-f]{2})|(.))/defined $1 ? chr(hex($1)) : $2/gse;
	return $name;
}

# Read one file of the open backup into $directory.  Returns its size, or
# undef when it is gone and to be left out.
sub read_file
{
	my ($dbh, $instance, $name, $directory) = @_;
	my ($handle, $size) = eval {
		$dbh->selectrow_array('SELECT * FROM ese_open_file_instance(?, ?)',
			undef, $instance, $name);
	};
	if (my $error = $@)
	{
		return undef if $dbh->state eq 'J1811';
		die $error;
	}
	my $path = "$directory/" . file_name($name);
	make_path(dirname($path), { mode => 0700 });
	open(my $out, '>:raw', $path) or die "could not create $path: $!\n";
	my $done = 0;
	my $read = $dbh->prepare_cached('SELECT ese_read_file_instance(?, ?, ?, ?)');
	for (;;)
	{
		$read->execute($instance, $handle, $PIECE, $done);
		my ($piece) = $read->fetchrow_array;
		$read->finish;
		last if length($piece) == 0;
		print $out $piece or die "could not write $path: $!\n";
		$done += length($piece);
	}
	close($out) or die "could not write $path: $!\n";
	die "$name: read $done of $size bytes\n" if $done != $size;
	value($dbh, 'SELECT ese_close_file_instance(?, ?)', $instance, $handle);
	return $size;
}

# Read the files of a list with so many sessions; dies when one fails.
sub read_files
{
	my ($dsn, $instance, $directory, $sessions, @names) = @_;
	in_parallel($dsn, $sessions, sub {
		my ($dbh, $session) = @_;
		for (my $i = $session; $i < @names; $i += $sessions)
		{
			read_file($dbh, $instance, $names[$i], $directory);
		}
	});
	return;
}

# Make the directories of the attach list; return its files, largest first.
sub list_attached
{
	my ($dbh, $instance, $directory) = @_;
	my $rows = $dbh->selectall_arrayref(
		'SELECT file_name, kind FROM ese_get_attach_info_instance(?)
		  ORDER BY file_size DESC', undef, $instance);
	my @files;
	for my $row (@$rows)
	{
		if ($row->[1] eq 'directory')
		{
			make_path("$directory/" . file_name($row->[0]), { mode => 0700 });
		}
		else
		{
			push @files, $row->[0];
		}
	}
	return @files;
}

# The command that extracts a stream from its input.
sub untar_command
{
	my ($dbh, $instance, $directory) = @_;
	my $compression = value($dbh, "SELECT ese_get_system_parameter(?, 'backup_compression')", $instance);
	my $untar = "tar -C '$directory' -xf -";
	my $unpack = $compression =~ /^lz4/ ? "lz4 -dcq | $untar" : $compression =~ /^zstd/ ? "zstd -dcq | $untar" : $untar;
	return ('bash', '-o', 'pipefail', '-c', $unpack);
}

# Read one stream into $directory.
sub read_stream
{
	my ($dbh, $instance, $directory) = @_;
	my $handle = value($dbh, 'SELECT ese_open_stream_instance(?)', $instance);
	open(my $tar, '|-', untar_command($dbh, $instance, $directory)) or die "tar: $!\n";
	binmode($tar);
	$dbh->do("CALL ese_copy_stream($instance, $handle)");
	my $data = '';
	while ($dbh->pg_getcopydata($data) >= 0)
	{
		print $tar $data or die "tar: $!\n";
	}
	close($tar) or die "tar failed\n";
	value($dbh, 'SELECT ese_close_file_instance(?, ?)', $instance, $handle);
	return;
}

# Run a function in so many processes, each with a session of its own; dies
# when one fails.
sub in_parallel
{
	my ($dsn, $sessions, $work) = @_;
	my @children;

	for my $session (0 .. $sessions - 1)
	{
		my $pid = fork() // die "fork: $!";
		if ($pid == 0)
		{
			my $ok = eval {
				my $dbh = connect_to($dsn);
				$work->($dbh, $session);
				$dbh->disconnect;
				1;
			};
			print STDERR $@ unless $ok;
			POSIX::_exit($ok ? 0 : 1);
		}
		push @children, $pid;
	}
	my $failed = 0;
	for my $pid (@children)
	{
		waitpid($pid, 0);
		$failed++ if $? != 0;
	}
	die "$failed of $sessions sessions failed\n" if $failed;
	return;
}

# A whole backup; dies unless it is good.  Options: sessions, label, streams
# (read by streams), listed and between (called before and between the two
# phases), truncate (its logs), incremental (into the directory of the full
# backup; truncates as well, unless it is told not to).
sub backup
{
	my ($dsn, $instance, $directory, %options) = @_;
	my $sessions = $options{sessions} // 1;
	my $dbh = connect_to($dsn);

	make_path($directory, { mode => 0700 });
	chmod(0700, $directory);
	value($dbh, 'SELECT ese_begin_external_backup_instance(?, ?, ?)',
		$instance, $options{incremental} ? 1 : 0, $options{label} // 'test');
	my $id = value($dbh, 'SELECT ese_backup_id(?)', $instance);
	my @files = $options{incremental} ? () : list_attached($dbh, $instance, $directory);
	$options{listed}->($dbh, \@files) if $options{listed};
	my $read = sub {
		return read_files($dsn, $instance, $directory, $sessions, @_) if !$options{streams};
		return in_parallel($dsn, $sessions, sub { read_stream($_[0], $instance, $directory) });
	};
	$read->(@files) if !$options{incremental};
	$options{between}->($dbh) if $options{between};
	my $logs = $dbh->selectcol_arrayref(
		'SELECT file_name FROM ese_get_log_info_instance(?)', undef, $instance);
	$read->(@$logs) if @$logs;
	value($dbh, 'SELECT ese_truncate_log_instance(?)', $instance) if $options{truncate} // $options{incremental};
	value($dbh, 'SELECT ese_check(ese_end_external_backup_instance(?))', $instance);
	$dbh->disconnect;
	return $id;
}

1;
