package registration_test

import (
	"errors"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/registration"
)

func TestNamesOfTypes(t *testing.T) {
	for _, tt := range []struct{ pkg, typ, is, by string }{
		{"example.com/shop", "Orders", "example.com/shop.Orders", "example.com/shop.RegisterOrders"},
		{"", "Orders", "Orders", "RegisterOrders"},
		{"example.com/shop", registration.Job + "daily", `HandleJob "daily" in example.com/shop`,
			`HandleJob "daily" in example.com/shop`},
		{"", registration.Job + "daily", `HandleJob "daily"`, `HandleJob "daily"`},
	} {
		if is, by := registration.Type(tt.pkg, tt.typ), registration.Func(tt.pkg, tt.typ); is != tt.is || by != tt.by {
			t.Errorf("%s %s: %s by %s", tt.pkg, tt.typ, is, by)
		}
	}
	const here = "github.com/afgen/afgen/runtime/internal/registration_test"
	if pkg := registration.PackageOf(TestNamesOfTypes); pkg != here {
		t.Errorf("package %q", pkg)
	}
	if pkg := registration.PackageOf((func())(nil)); pkg != "" {
		t.Errorf("package %q of nil", pkg)
	}
}

// A name is unique among its kind only, and all errors are collected.
func TestCheckFindsNamesThatAreTakenTwice(t *testing.T) {
	var c registration.Check
	own := errors.New("own")
	c.Add("service", "service", "a", "p", "A", nil)
	c.Add("worker", "queue", "a", "p", "W", nil)
	if c.Errs != nil {
		t.Fatal(c.Errs)
	}
	c.Add("worker", "queue", "a", "q", "W", own)
	c.Add("worker", "queue", "", "p", "X", nil)
	if len(c.Errs) != 3 || c.Errs[0] != own || backend.CodeOf(c.Errs[1]) != backend.ErrAlreadyExists ||
		backend.CodeOf(c.Errs[2]) != backend.ErrInvalidArgument {
		t.Errorf("%v", c.Errs)
	}
}
