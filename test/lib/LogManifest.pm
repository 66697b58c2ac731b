# Reading log manifests and backup indexes without the extension.
package LogManifest;

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Exporter 'import';
use JSON::PP qw(decode_json);

our @EXPORT = qw(read_document checksum_of wrong_files);

sub slurp
{
	my ($path) = @_;
	open(my $in, '<:raw', $path) or die "could not open $path: $!\n";
	local $/ = undef;
	return scalar <$in> // '';
}

my @crc_table = map {
	my $c = $_;
	$c = $c & 1 ? ($c >> 1) ^ 0x82F63B78 : $c >> 1 for 1 .. 8;
	$c;
} 0 .. 255;

# CRC-32C as manifests print it: the bytes of the number as they lie in memory.
sub crc32c_hex
{
	my $crc = 0xFFFFFFFF;
	$crc = $crc_table[($crc ^ $_) & 0xFF] ^ ($crc >> 8) for unpack('C*', $_[0]);
	return unpack('H*', pack('V', $crc ^ 0xFFFFFFFF));
}

sub checksum_of
{
	my ($algorithm, $path) = @_;
	my $bytes = slurp($path);
	return $algorithm eq 'SHA256' ? sha256_hex($bytes) : crc32c_hex($bytes);
}

# A document as a structure; dies unless its own checksum is right.
sub read_document
{
	my ($path) = @_;
	my $bytes = slurp($path);
	$bytes =~ /\A(.*\n)"Manifest-Checksum": "([0-9a-f]{64})"\}\n\z/s or die "$path has no checksum\n";
	die "the checksum of $path is wrong\n" if sha256_hex($1) ne $2;
	return decode_json($bytes);
}

# What is wrong about the files of a manifest that lie in a directory.
sub wrong_files
{
	my ($manifest, $directory) = @_;
	my @wrong;
	for my $file (@{ $manifest->{Files} })
	{
		my $path = "$directory/$file->{Path}";
		my $algorithm = $file->{'Checksum-Algorithm'};
		push @wrong, "$file->{Path}: size" if (-s $path // -1) != $file->{Size};
		push @wrong, "$file->{Path}: checksum"
		  if $algorithm && -e $path && checksum_of($algorithm, $path) ne $file->{Checksum};
	}
	return @wrong;
}

1;
