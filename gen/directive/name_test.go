package directive_test

import (
	"strings"
	"testing"

	"github.com/afgen/afgen/gen/directive"
)

func TestSnakeCase(t *testing.T) {
	for goName, want := range map[string]string{
		"": "", "A": "a", "AB": "ab", "Ab": "ab", "TestServer": "test_server", "HTTPServer": "http_server",
		"ServerHTTP": "server_http", "UserV2": "user_v2", "V2": "v2", "ID3Tag": "id3_tag",
		"HTTP2Server": "http2_server", "ABTest": "ab_test", "S3": "s3",
		"already_snake": "already_snake", "Already_Snake": "already_snake", "HTTP_Server": "http_server",
		"lowerFirst": "lower_first",
		"Größe":      "größe", "ÄrgerÜber": "ärger_über", "Привет": "привет", "日本Server": "日本_server", "Server日本": "server日本",
	} {
		if got := directive.SnakeCase(goName); got != want {
			t.Errorf("SnakeCase(%q) = %q, want %q", goName, got, want)
		}
	}
}

func TestSnakeCaseIsIdempotent(t *testing.T) {
	for _, name := range []string{"HTTPServer", "UserV2", "ID3Tag", "ÄrgerÜber", "aBcD", "日本Server"} {
		once := directive.SnakeCase(name)
		if twice := directive.SnakeCase(once); twice != once {
			t.Errorf("%s: %s, then %s", name, once, twice)
		}
	}
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "Z": true, "test_server": true, "test-server.v2": true, "a.1": true, "a__b--c": true,
		strings.Repeat("x", 100): true, "": false, "_a": false, "1a": false, "-a": false, ".a": false, "a.": false,
		"a..b": false, "a b": false, "a/b": false, "größe": false, "a\x00": false, "a*": false,
		"a#": false, strings.Repeat("x", 101): false,
	} {
		if got := directive.ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v", name, got)
		}
	}
}
