// Empty: Keel has no locales.
#pragma once
