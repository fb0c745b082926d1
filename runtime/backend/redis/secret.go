package redis

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/afgen/afgen/runtime/backend/internal/secret"
)

// String returns all fields, with Password and URI redacted.
func (c Config) String() string {
	type plain Config // without this method
	c.URI, c.Password = secret.Hide(c.URI), secret.Hide(c.Password)
	return fmt.Sprintf("%+v", plain(c))
}

// Format writes [Config.String] for every verb.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue returns [Config.String].
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText returns [Config.String], for encoding/json and other encoders. A Config can't be decoded.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
