package browser

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/afgen/afgen/internal/browser/chrome"
)

// testPictures returns the directory for pictures of all pages that tests look at, if it is set.
func testPictures() string { return os.Getenv("AF_TEST_PICTURES") }

// picture writes pictures of the page.
func (u *user) picture(dir, name string) {
	u.Helper()
	for size, v := range map[string]chrome.View{"wide": {}, "phone": {Width: 375, Height: 700, Phone: true, Dark: true}} {
		u.within(func(ctx context.Context) error {
			if err := u.tab.View(ctx, v); err != nil {
				return err
			}
			png, err := u.tab.Screenshot(ctx, true)
			if err != nil {
				return err
			}
			test, _, _ := strings.Cut(u.Name(), "/")
			return os.WriteFile(filepath.Join(dir, test+"-"+name+"-"+size+".png"), png, 0o600)
		})
	}
}
