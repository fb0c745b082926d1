package mongo

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/afgen/afgen/runtime/backend/internal/secret"
)

// String returns all fields, with URI redacted.
func (c Config) String() string {
	type plain Config // without this method
	c.URI = secret.Hide(c.URI)
	return fmt.Sprintf("%+v", plain(c))
}

// Format writes [Config.String] for every verb.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue returns [Config.String].
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText returns [Config.String], for encoding/json and other encoders. A Config can't be decoded.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Format writes the server's address and the database for every verb, since a Client's fields contain passwords.
func (c *Client) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "mongo.Client[%s, database %q]", c.config.Address, c.config.Database)
}
