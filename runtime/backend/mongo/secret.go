package mongo

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/afgen/afgen/runtime/backend/internal/secret"
)

// String returns all fields, with "[redacted]" in place of URI.
func (c Config) String() string {
	type plain Config // without this method
	c.URI = secret.Hide(c.URI)
	return fmt.Sprintf("%+v", plain(c))
}

// Format writes [Config.String], whatever the verb.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue returns [Config.String].
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText returns [Config.String], for encoding/json and the like: a Config is not read back.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Format writes the address of the server and the name of the database, whatever the verb: what a Client keeps has passwords.
func (c *Client) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "mongo.Client[%s, database %q]", c.config.Address, c.config.Database)
}
