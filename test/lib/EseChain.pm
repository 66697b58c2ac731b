# Chains of backups of a small cluster in every form, what they are called, and
# what they restore to: for tests that read a backup very often.
package EseChain;

use strict;
use warnings;

use EseClient;
use EseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @FORMS = (
	{ name => 'plain' },
	{ name => 'tar', format => 'tar' },
	{ name => 'lz4', format => 'tar', compression => 'lz4' },
	{ name => 'zstd', format => 'tar', compression => 'zstd:1' },
	{ name => 'by files', sql => 1 },
	{ name => 'by streams', sql => 1, streams => 1, compression => 'lz4' });

my $restores = 0;

# A cluster with an instance and rows in two places.  Options: name, work (a
# directory for tablespaces), conf.
sub new
{
	my ($class, %options) = @_;
	my $node = new_node($options{name}, initdb => [ '--data-checksums', '--wal-segsize=1' ],
		conf => "autovacuum = off\nfsync = off\n" . ($options{conf} // ''));
	mkdir("$options{work}/space_$options{name}");
	$node->safe_psql('postgres', "CREATE TABLESPACE space LOCATION '$options{work}/space_$options{name}'");
	$node->safe_psql('postgres', 'CREATE TABLE here (n int, filler text); CREATE TABLE there (n int PRIMARY KEY USING INDEX TABLESPACE space, filler text) TABLESPACE space');
	# a verification reads 8 MB less
	$node->safe_psql('postgres', 'ALTER DATABASE template0 IS_TEMPLATE false');
	$node->safe_psql('postgres', 'DROP DATABASE template0');
	return $class->on($node, 'main');
}

# The same for a node that is there already, as a standby is.
sub on
{
	my ($class, $node, $instance) = @_;
	my $self = bless({ node => $node, source => $node, rows => 0, warnings => [] }, $class);
	$self->{id} = start_instance($node, $instance, circular_log => 'off', history_limit => 20);
	$self->connect;
	return $self;
}

sub connect
{
	my ($self) = @_;
	$self->{dbh} = EseClient::connect_to(dsn($self->{node}));
	$self->{dbh}->{PrintWarn} = 1;
	return;
}

sub set
{
	my ($self, %parameters) = @_;
	$self->{dbh}->do("SELECT ese_set_system_parameter($self->{id}, '$_', '$parameters{$_}')") for sort keys %parameters;
	return;
}

sub add_rows
{
	my ($self) = @_;
	my $to = $self->{rows} += 500;
	$self->{source}->safe_psql('postgres', "INSERT INTO $_ SELECT g, md5(g::text) FROM generate_series($to - 499, $to) g") for qw(here there);
	return;
}

# What a restore must bring now.
sub wanted { my ($self) = @_; return "rows $self->{rows}|$self->{rows}"; }

# One more backup: a full one, or an incremental of it.
sub take
{
	my ($self, $form, $directory, $incremental) = @_;
	$self->set(backup_format => $form->{format} // 'plain', backup_compression => $form->{compression} // 'none');
	return EseClient::backup(dsn($self->{node}), $self->{id}, $directory, %$form, truncate => 1, incremental => $incremental)
	  if $form->{sql};
	return $self->{dbh}->do("SELECT ese_backup_instance($self->{id}, '$directory', " . ($incremental ? 1 : 0) . ')');
}

# A full backup and two incrementals, with rows before each; returns copies of
# what the directory was like after each.  Options: before (called before each).
sub take_chain
{
	my ($self, $form, $directory, %options) = @_;
	my @states;
	for my $n (0 .. 2)
	{
		$options{before}->($n) if $options{before};
		$self->add_rows;
		$self->take($form, $directory, $n > 0);
		push @states, "$directory.$n";
		system_or_bail('cp', '-a', $directory, $states[-1]);
	}
	return @states;
}

# The SQLSTATE of a call; its warnings are kept.
sub result_of
{
	my ($self, $sql) = @_;
	my @warnings;
	local $SIG{__WARN__} = sub { push @warnings, $_[0] };
	my $state = error_of($self->{dbh}, $sql);
	$self->{warnings} = \@warnings;
	return $state;
}

# The SQLSTATE of a verification, and whatever it warns of.
sub verify
{
	my ($self, $directory, $depth) = @_;
	$depth //= 'manifest';
	my $state = $self->result_of("SELECT ese_verify_backup($self->{id}, " . $self->{dbh}->quote($directory) . ", '$depth')");
	return join(' ', $state, @{ $self->{warnings} });
}

# What a restore brings: an SQLSTATE when it fails, or the rows.
sub restore
{
	my ($self, $directory) = @_;
	my $restored = PostgreSQL::Test::Cluster->new('restored' . ++$restores);
	my $data = $restored->data_dir;
	my $state = $self->result_of("SELECT ese_restore_instance($self->{id}, '$directory', '$data')");
	if ($state ne '00000')
	{
		my @left = glob("$data*");
		return @left ? "$state, but left @left" : $state;
	}
	$restored->append_conf('postgresql.conf', 'port = ' . $restored->port . "\nunix_socket_directories = '" . $restored->host . "'\n");
	my $found = $restored->start(fail_ok => 1) ? rows_of($restored) : 'does not start';
	$restored->stop('immediate') if $restored->{_pid};
	system('rm', '-rf', glob("$data*"));
	return $found;
}

sub rows_of
{
	my ($node) = @_;
	my ($status, $found) = $node->psql('postgres', 'SELECT (SELECT count(DISTINCT n) FROM here), (SELECT count(DISTINCT n) FROM there)');
	return $status == 0 ? "rows $found" : 'cannot be read';
}

1;
