package main

import "context"

// Prices knows prices.
//
//af:rpc
type Prices struct{}

// Price returns the price of an item.
func (*Prices) Price(_ context.Context, item string) (int, error) { return len(item), nil }
