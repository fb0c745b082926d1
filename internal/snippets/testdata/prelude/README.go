package prelude

type (
	Order      = shop.Order
	Shop       = shop.Shop
	ShopClient = shop.ShopClient
	Receipt    = shop.Receipt
)
