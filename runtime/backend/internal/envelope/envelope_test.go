package envelope

import (
	"math"
	"testing"
	"time"
)

func TestTimeoutEncoding(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Second: "1000", 2500 * time.Microsecond: "2.5", 1999 * time.Nanosecond: "0.001", 0: "0",
	} {
		if got := Milliseconds(d); got != want {
			t.Errorf("Milliseconds(%v) = %s, want %s", d, got, want)
		}
	}
	for s, want := range map[string]time.Duration{
		"1000": time.Second, "2.5": 2500 * time.Microsecond, "1e300": math.MaxInt64,
		"": 0, "0": 0, "-1": 0, "NaN": 0, "soon": 0,
	} {
		if got, err := Duration(s); got != want || (err == nil) != (want > 0) {
			t.Errorf("Duration(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
}
