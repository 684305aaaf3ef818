"""Everything that differs between a laptop and production comes from the environment: shared/env on a host, see README.md beside manage.py."""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = os.environ.get("DEBUG") == "1"

SECRET_KEY = os.environ.get("SECRET_KEY") or ("only-for-development" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured("SECRET_KEY is not set: put it into shared/env on a host, or set DEBUG=1 to try the site out.")

ALLOWED_HOSTS = [*os.environ.get("ALLOWED_HOSTS", "localhost").split(), "127.0.0.1"]  # where the health check asks
CSRF_TRUSTED_ORIGINS = os.environ.get("CSRF_TRUSTED_ORIGINS", "").split()

# bin/run sets both; without it this is a development checkout.
RELEASE_ID = os.environ.get("RELEASE_ID", "development")
RELEASE_DIR = os.environ.get("RELEASE_DIR")

INSTALLED_APPS = ["django.contrib.staticfiles", "catalogue"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

# var/ is one of the recipe's linked_dirs: it leads to shared/var on a host and outlives every release. Where the site runs as a user of its
# own, both it and the one who deploys (and migrates) write there, by the group that they share. SQLite would make its file for one of them.
DATABASE = Path(os.environ.get("DATABASE") or BASE_DIR / "var" / "shop.sqlite3")
os.umask(0o007)
if RELEASE_DIR:
    DATABASE.touch(0o660)
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATABASE,
        "OPTIONS": {"timeout": 10, "transaction_mode": "IMMEDIATE"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# collectstatic fills static/ at build time; the release carries it as assets/static.
STATIC_URL = "/static/"
STATIC_ROOT = Path(RELEASE_DIR) / "assets" / "static" if RELEASE_DIR else BASE_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

# TLS ends at nginx, which says so in this header. HTTPS=0 in shared/env is for trying a release out without it.
HTTPS = not DEBUG and os.environ.get("HTTPS", "1") == "1"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = ["^health$"]  # asked on the host itself, past nginx
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]  # whether all of a domain is HTTPS only is for its owner to say
CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_SECURE = HTTPS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": os.environ.get("LOG_LEVEL", "INFO")},
}
