from django.urls import path

from catalogue import views

urlpatterns = [
    path("", views.index, name="index"),
    path("buy", views.buy, name="buy"),
    path("health", views.health, name="health"),
]
