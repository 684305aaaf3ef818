from django.urls import path

from catalogue import views

urlpatterns = [
    path("", views.index, name="index"),
    path("healthz", views.health, name="health"),
]
