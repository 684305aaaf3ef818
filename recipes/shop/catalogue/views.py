from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from .models import Product


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    return render(request, "catalogue/index.html", {"release": settings.RELEASE_ID, "products": Product.objects.all()})


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Says which release answers, and that it reaches its database: what a health check wants to know."""
    return JsonResponse({"release": settings.RELEASE_ID, "products": Product.objects.count()})
