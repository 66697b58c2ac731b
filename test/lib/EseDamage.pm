# Random damage to a backup, made in place and undone.
#
# The directory that is damaged consists of hard links to the files of one
# that stays as it is: a damaged file is a new one in the place of a link, so
# that undoing is linking again, and the good bytes cannot be touched.
package EseDamage;

use strict;
use warnings;

use Errno qw(ENOENT);
use File::Basename qw(basename dirname);
use File::Find qw(find);
use File::Path qw(make_path remove_tree);

# What a backup consists of, in the order in which it is asked, each with how
# often it is drawn.
my @PARTS = (
	{ name => 'index', weight => 3, is => qr{(?:^|/)ese_backup$} },
	{ name => 'manifest', weight => 3, is => qr{(?:^|/)(?:backup_manifest$|ese_logs\.)} },
	{ name => 'label', weight => 2, is => qr{^(?:backup_label|tablespace_map\.original|PG_VERSION)$} },
	{ name => 'pg_control', weight => 2, is => qr{^global/pg_control$} },
	{ name => 'log', weight => 6, is => qr{^(?:pg_wal/|logs\b[^/]*\.tar)} },
	{ name => 'archive', weight => 8, is => qr{^[^/]+\.tar(?:\.\w+)?$} },
	{ name => 'tablespace', weight => 2, is => qr{^pg_tblspc/} },
	{ name => 'setting', weight => 1, is => qr{\.conf$} },
	{ name => 'relation', weight => 4, is => qr{^(?:base|global)/} },
	{ name => 'other', weight => 2, is => qr{} });

# Options: good (the sound backup), place (the damaged one, made here), states
# (the same backup before its last incrementals, oldest first), foreign
# (backups of another cluster and older ones of this, of the same form).
sub new
{
	my ($class, %options) = @_;
	my $self = bless({%options}, $class);
	system('cp', '-al', $self->{good}, $self->{place}) == 0 or die "could not link $self->{good}\n";
	$self->{files} = [ files_of($self->{good}) ];
	for my $name (@{ $self->{files} })
	{
		my ($part) = grep { $name =~ $_->{is} } @PARTS;
		push @{ $self->{parts}->{ $part->{name} } }, $name;
	}
	return $self;
}

sub files_of
{
	my ($directory) = @_;
	my @found;
	find({ no_chdir => 1, wanted => sub { push @found, substr($_, length($directory) + 1) if -f $_ && !-l $_ } }, $directory);
	return sort @found;
}

sub one_of { return $_[ rand(@_) ]; }

# Files that lie in both directories with other bytes, or in one alone.
sub differing
{
	my ($one, $other) = @_;
	my %names = map { $_ => 1 } files_of($one), files_of($other);
	return grep { (slurp("$one/$_") // 'no') ne (slurp("$other/$_") // 'no') } sort keys %names;
}

sub slurp
{
	my ($path) = @_;
	open(my $file, '<:raw', $path) or $!{ENOENT} ? return undef : die "$path: $!\n";
	local $/;
	return scalar(<$file>) // '';
}

sub spill
{
	my ($path, $bytes) = @_;
	make_path(dirname($path));
	open(my $file, '>:raw', $path) or die "$path: $!\n";
	print $file $bytes or die "$path: $!\n";
	close($file) or die "$path: $!\n";
	return;
}

# ---- drawing

# A file that is not empty.
sub draw_file
{
	my ($self, $wanted) = @_;
	for (;;)
	{
		my @parts = map { my $part = $_; ($part->{name}) x $part->{weight} } @PARTS;
		my $part = $wanted // one_of(grep { $self->{parts}->{$_} } @parts);
		my $name = one_of(@{ $self->{parts}->{$part} // die "no $part\n" });
		return $name if -s "$self->{good}/$name";
	}
	return;
}

# A place in it: anywhere, near its ends, or in what lies around contents.
sub draw_place
{
	my ($self, $name, $bytes) = @_;
	my $length = length($$bytes);
	my $how = rand();
	my $end = $length < 1536 ? $length : 1536;
	my @headers;
	if ($name =~ /\.tar$/ && $how < 0.3)
	{
		push @headers, pos($$bytes) - 262 while $$bytes =~ /ustar/g;
		return (one_of(@headers) + int(rand(512))) % $length;
	}
	return int(rand(rand() < 0.5 ? 64 : $end)) % $length if $how < 0.4;
	return $length - 1 - int(rand($end)) if $how < 0.6;
	return int(rand($length));
}

# ---- changing files, which is noted

sub note { my ($self, $name) = @_; $self->{touched}->{$name} = 1; return "$self->{place}/$name"; }

sub put
{
	my ($self, $name, $bytes) = @_;
	my $path = $self->note($name);
	unlink($path);
	spill($path, $bytes);
	return;
}

sub remove
{
	my ($self, $name) = @_;
	unlink($self->note($name)) or die "$name: $!\n";
	return;
}

sub bytes_of { my ($self, $name) = @_; return slurp("$self->{good}/$name"); }

sub undo
{
	my ($self) = @_;
	for my $name (keys %{ $self->{touched} })
	{
		my ($path, $good) = ("$self->{place}/$name", "$self->{good}/$name");
		remove_tree($path) if -d $path && !-l $path;
		unlink($path);
		link($good, $path) or die "$path: $!\n" if -e $good;
	}
	$self->{touched} = {};
	return;
}

# Do the bytes differ from those of the sound backup at all?
sub has_changed
{
	my ($self) = @_;
	for my $name (keys %{ $self->{touched} })
	{
		my ($now, $good) = ("$self->{place}/$name", "$self->{good}/$name");
		return 1 if -l $now || -d $now || (-e $now xor -e $good);
		return 1 if -e $now && slurp($now) ne slurp($good);
	}
	return 0;
}

# ---- kinds of damage; each says what it has done, or undef: not here

sub flip
{
	my ($self, $part) = @_;
	my $name = $self->draw_file($part);
	my $bytes = $self->bytes_of($name);
	my $at = $self->draw_place($name, \$bytes);
	my $bit = int(rand(8));
	substr($bytes, $at, 1) = chr(ord(substr($bytes, $at, 1)) ^ 1 << $bit);
	$self->put($name, $bytes);
	return "flip bit $bit of byte $at of $name (" . length($bytes) . ' bytes)';
}

sub cut
{
	my ($self, $part) = @_;
	my $name = $self->draw_file($part);
	my $bytes = $self->bytes_of($name);
	my $length = length($bytes);
	my $unit = one_of(1, 1, 512, 1024, 8192, 10240, 65536, 1 << 18, 1 << 20);
	my $to = one_of(0, $length - 1, $length >> 1, int(($length - 1) / $unit) * $unit,
		int(rand($length) / $unit) * $unit);
	$self->put($name, substr($bytes, 0, $to));
	return "cut $name from $length to $to";
}

my %FILE_DAMAGE = (
	remove => sub {
		my ($self) = @_;
		my $name = one_of($self->draw_file, one_of(@{ $self->{files} }));
		$self->remove($name);
		return "remove $name";
	},
	append => sub {
		my ($self) = @_;
		my $name = one_of($self->draw_file, one_of(@{ $self->{files} }));
		my $bytes = $self->bytes_of($name);
		my $more = one_of("\0", 'x', "\0" x 512, "\0" x 8192, "\0" x 10240, join('', map { chr(rand(256)) } 1 .. 100), $bytes);
		$self->put($name, $bytes . $more);
		return "append " . length($more) . " bytes (" . (ord($more) ? 'data' : 'zeros') . ") to $name";
	},
	zeros => sub {
		my ($self) = @_;
		my $name = $self->draw_file;
		my $bytes = $self->bytes_of($name);
		my $unit = one_of(64, 512, 8192, 65536);
		my $at = int(rand(length($bytes)) / $unit) * $unit;
		my $length = length(substr($bytes, $at, $unit));
		substr($bytes, $at, $length) = "\0" x $length;
		$self->put($name, $bytes);
		return "zero $length bytes at $at of $name";
	},
	swap => sub {
		my ($self) = @_;
		my ($one, $other) = $self->draw_pair or return undef;
		my $bytes = $self->bytes_of($one);
		$self->put($one, $self->bytes_of($other));
		$self->put($other, $bytes);
		return "swap $one and $other";
	},
	replace => sub {
		my ($self) = @_;
		my ($one, $other) = $self->draw_pair or return undef;
		$self->put($one, $self->bytes_of($other));
		return "replace $one by $other";
	},
	duplicate => sub {
		my ($self) = @_;
		my $name = $self->draw_file;
		my $copy = $self->draw_name($name);
		return undef if -e "$self->{good}/$copy";
		$self->put($copy, $self->bytes_of($name));
		return "duplicate $name as $copy";
	},
	rename => sub {
		my ($self) = @_;
		my $name = $self->draw_file;
		my $copy = $self->draw_name($name);
		return undef if -e "$self->{good}/$copy";
		$self->put($copy, $self->bytes_of($name));
		$self->remove($name);
		return "rename $name to $copy";
	},
	foreign => sub {
		my ($self) = @_;
		my $from = one_of(@{ $self->{foreign} });
		my $name = one_of(one_of(files_of($from)), grep { -e "$from/$_" } $self->draw_file);
		$self->put($name, slurp("$from/$name"));
		return "$name is that of " . basename($from);
	},
	# one file is as it was a backup earlier
	older => sub {
		my ($self) = @_;
		my $from = one_of(@{ $self->{states} });
		my @differing = @{ $self->{differing}->{$from} //= [ differing($self->{good}, $from) ] };
		my $name = one_of(@differing, grep { /ese_backup$|ese_logs/ } @differing);
		my $old = slurp("$from/$name");
		defined($old) ? $self->put($name, $old) : $self->remove($name);
		return "$name is as in " . basename($from);
	},
	# all but one file are
	newer => sub {
		my ($self) = @_;
		my $from = one_of(@{ $self->{states} });
		my @differing = @{ $self->{differing}->{$from} //= [ differing($self->{good}, $from) ] };
		return undef if @differing < 2;
		my $kept = one_of(@differing, grep { /ese_backup$|ese_logs/ } @differing);
		for my $name (grep { $_ ne $kept } @differing)
		{
			my $old = slurp("$from/$name");
			defined($old) ? $self->put($name, $old) : $self->remove($name);
		}
		return "all is as in " . basename($from) . " but $kept";
	},
	link => sub {
		my ($self) = @_;
		my $name = $self->draw_file;
		$self->remove($name);
		symlink("$self->{good}/$name", $self->note($name)) or die "$name: $!\n";
		return "$name is a symbolic link to a good file";
	},
	directory => sub {
		my ($self) = @_;
		my $name = $self->draw_file;
		$self->remove($name);
		mkdir($self->note($name)) or die "$name: $!\n";
		return "$name is a directory";
	},
	stranger => sub {
		my ($self) = @_;
		my $name = one_of('x', 'base/1/99999', 'global/x', 'pg_wal/x', 'pg_wal/archive_status/x.ready', 'pg_xact/0001',
			'pg_wal/ese_logs.99', 'pg_wal/ese_backup.1', 'ese_backup.1', 'data.99.tar', 'logs.99.tar', 'pg_wal/00000002.history',
			'recovery.signal', 'standby.signal', 'tablespace_map', 'postgresql.conf.bak', '.hidden');
		return undef if -e "$self->{good}/$name" || !-d dirname("$self->{good}/$name");
		$self->put($name, one_of('', 'x', "\0" x 512, $self->bytes_of($self->draw_file)));
		return "a strange $name";
	},
	# a member of an archive
	member => sub {
		my ($self) = @_;
		my @archives = grep { /\.tar(\.\w+)?$/ } @{ $self->{files} };
		return undef if !@archives;
		return $self->change_member(one_of(@archives, grep { /^logs/ } @archives));
	});

sub file_damage
{
	my ($self, $kind) = @_;
	$kind //= one_of(sort keys %FILE_DAMAGE);
	return $FILE_DAMAGE{$kind}->($self);
}

sub kinds { return sort keys %FILE_DAMAGE; }

# Two files of which one may be taken for the other.
sub draw_pair
{
	my ($self) = @_;
	my $one = $self->draw_file;
	(my $like = quotemeta(basename($one))) =~ s/[0-9A-F]+/[0-9A-F]+/g;
	my @others = grep { $_ ne $one && basename($_) =~ /^$like$/ } @{ $self->{files} };
	return @others ? ($one, one_of(@others)) : ();
}

# Another name that a reader may take for one of the backup.
sub draw_name
{
	my ($self, $name) = @_;
	# what an incremental that was killed may leave is no damage
	my @suffixes = ('.1', '~', '.lz4', '.zst', '.partial', '.ready', $name =~ m{^(?:pg_wal/|ese_backup$)} ? () : '.ese_new');
	return $name . one_of(@suffixes) if rand() < 0.4;
	return $name =~ s/\.(?:lz4|zst)$//r if $name =~ /\.tar\.\w+$/ && rand() < 0.4;
	# another number
	my @digits;
	push @digits, pos($name) - 1 while $name =~ /[0-9]/g;
	return "$name.2" if !@digits;
	substr(my $other = $name, one_of(@digits, $digits[-1]), 1) = int(rand(10));
	return $other;
}

# ---- archives

my %UNPACK = ('.lz4' => 'lz4 -dcq', '.zst' => 'zstd -dcq', '' => 'cat');
my %PACK = ('.lz4' => 'lz4 -1cq', '.zst' => 'zstd -1cq --check', '' => 'cat');

sub unpack_tar { my ($path, $suffix) = @_; return scalar(`$UNPACK{$suffix} '$path'`); }

# Write an archive of these members.
sub pack_tar
{
	my ($path, $suffix, @members) = @_;
	spill("$path.tmp", join('', @members, "\0" x 1024));
	spill($path, scalar(`$PACK{$suffix} '$path.tmp'`));
	unlink("$path.tmp");
	return;
}

# Its members, each with its header and padding.
sub split_tar
{
	my ($bytes) = @_;
	my @members;
	for (my $at = 0; $at + 512 <= length($bytes) && substr($bytes, $at, 512) =~ /[^\0]/;)
	{
		my $size = oct(unpack('Z12', substr($bytes, $at + 124, 12)) =~ s/[^0-7]//gr || 0);
		my $length = 512 + (($size + 511) & ~511);
		push @members, substr($bytes, $at, $length);
		$at += $length;
	}
	return @members;
}

# A header with another name.
sub rename_member
{
	my ($member, $name) = @_;
	substr($member, 0, 100) = pack('a100', $name);
	substr($member, 148, 8) = ' ' x 8;
	substr($member, 148, 8) = sprintf("%06o\0 ", unpack('%32C512', substr($member, 0, 512)));
	return $member;
}

sub change_member
{
	my ($self, $archive) = @_;
	my ($suffix) = $archive =~ /\.tar(.*)$/;
	my @members = split_tar(unpack_tar("$self->{good}/$archive", $suffix));
	my $which = one_of(grep { length($members[$_]) > 512 } 0 .. $#members) // return undef;
	my $name = unpack('Z100', $members[$which]);
	my $how = one_of(qw(remove repeat rename stranger zeros end));
	my $end = "\0" x 1024;
	if ($how eq 'remove')
	{
		splice(@members, $which, 1);
	}
	elsif ($how eq 'repeat')
	{
		push @members, $members[$which];
	}
	elsif ($how eq 'rename')
	{
		$members[$which] = rename_member($members[$which], $self->draw_name($name));
	}
	elsif ($how eq 'stranger')
	{
		push @members, rename_member($members[$which], one_of('x', 'pg_wal/x', 'pg_wal/ese_logs.99', 'pg_wal/0000000100000000000000FF',
				'pg_wal/00000009.history', 'base/1/99999', 'global/pg_control', 'recovery.signal'));
	}
	elsif ($how eq 'zeros')
	{
		substr($members[$which], 512) = "\0" x (length($members[$which]) - 512);
	}
	else
	{
		$end = '';
		$name = 'the end';
	}
	spill("$self->{place}.tmp", join('', @members, $end));
	$self->put($archive, scalar(`$PACK{$suffix} '$self->{place}.tmp'`));
	unlink("$self->{place}.tmp");
	return "$archive: $how member $name";
}

1;
