package embedded_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/afgen/afgen/internal/testkit"
)

var children = testkit.Children{}

func TestMain(m *testing.M) {
	children.Run()
	goleak.VerifyTestMain(m)
}
