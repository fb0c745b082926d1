package amqp

import (
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/afgen/afgen/runtime/backend/internal/secret"
)

// String returns all fields, with Password and URLs redacted.
func (c Config) String() string {
	type plain Config // without this method
	c.Password = secret.Hide(c.Password)
	c.URLs = slices.Clone(c.URLs)
	for i := range c.URLs {
		c.URLs[i] = secret.Hide(c.URLs[i])
	}
	return fmt.Sprintf("%+v", plain(c))
}

// Format writes [Config.String] for every verb.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue returns [Config.String].
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText returns [Config.String], for encoding/json and other encoders. A Config can't be decoded.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Format writes the brokers' addresses for every verb, since a Conn's fields contain passwords.
func (c *Conn) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "amqp.Conn%s", c.targets) }
