package prelude

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
	"github.com/afgen/afgen/runtime/aftest"
	"github.com/afgen/afgen/runtime/backend/auto"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
	"github.com/afgen/afgen/runtime/dashboard"
	"github.com/afgen/afgen/runtime/executor"
	"github.com/afgen/afgen/runtime/health"
	"github.com/afgen/afgen/runtime/httpstatus"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/logs"
	"github.com/afgen/afgen/runtime/snowflake"
	"github.com/afgen/afgen/runtime/timefmt"

	"github.com/afgen/afgen/internal/snippets/shop"
)

var (
	ctx      context.Context
	app      *af.App
	cfg      config.Config
	id       string
	order    shop.Order
	orders   []shop.Order
	receipts *shop.ReceiptQueue
	failed   af.Task
)
