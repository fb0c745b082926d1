package config

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// A Secret is a text that must not be seen by chance: whichever way it is printed, marshalled or logged, it comes out as
// "[redacted]", or as "" when it is empty. Only [Secret.Reveal] and a conversion to string give the text.
//
// What remains is what fmt doesn't ask methods about: a misplaced %p or %w, which go vet reports, and unexported fields.
// A [Config] or a pointer to one of its sections may be kept in an unexported field and printed with %v, since fmt
// doesn't follow pointers there; a Secret or a section by itself may not.
type Secret string

// Reveal returns the text itself, to be handed to a driver.
func (s Secret) Reveal() string { return string(s) }

// String returns "[redacted]", or "" when s is empty.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString is [Secret.String]: for %#v too.
func (s Secret) GoString() string { return s.String() }

// Format writes [Secret.String] for every verb and flag; without it %x and %d would show the text.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// Config and the sections format themselves too, always as %+v would: for a verb that doesn't suit a pointer, such as %s,
// fmt prints what the pointer leads to without asking any methods, those of Secret included.

// Format writes all fields, those of the sections too, whatever the verb; secrets are redacted.
func (c Config) Format(f fmt.State, _ rune) {
	type plain Config // without this method
	fmt.Fprintf(f, "%+v", plain(c))
}

// Format writes all fields, whatever the verb; secrets are redacted.
func (m MongoDB) Format(f fmt.State, _ rune) {
	type plain MongoDB
	fmt.Fprintf(f, "%+v", plain(m))
}

// Format writes all fields, whatever the verb; secrets are redacted.
func (r Redis) Format(f fmt.State, _ rune) {
	type plain Redis
	fmt.Fprintf(f, "%+v", plain(r))
}

// Format writes all fields, whatever the verb; secrets are redacted.
func (r RabbitMQ) Format(f fmt.State, _ rune) {
	type plain RabbitMQ
	fmt.Fprintf(f, "%+v", plain(r))
}

// MarshalText returns [Secret.String].
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns [Secret.String], quoted.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// MarshalYAML returns [Secret.String].
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue returns [Secret.String].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
