from django.conf import settings
from django.db.models import F
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from .models import Product


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    return render(request, "catalogue/index.html", {"release": settings.RELEASE_ID, "products": Product.objects.all()})


@require_POST
def buy(request: HttpRequest) -> HttpResponse:
    """One piece of a product leaves the stock; 409 when there is none. Two who buy the last one at once can't both have it."""
    if not Product.objects.filter(name=request.POST.get("product", ""), stock__gt=0).update(stock=F("stock") - 1):
        return HttpResponse("Sold out.", status=409, content_type="text/plain")
    return redirect("index")


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Says which release answers, and that it reaches its database: what a health check wants to know."""
    facts = {"release": settings.RELEASE_ID, "products": Product.objects.count()}
    return JsonResponse(facts, headers={"X-Release-Id": settings.RELEASE_ID})
