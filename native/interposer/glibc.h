/* Names that glibc 2.32 and 2.34 moved between its libraries, by the version that containers with an older glibc have too. */
#ifndef HSI_GLIBC_H
#define HSI_GLIBC_H

#if defined(__x86_64__)
#define HSI_OLDEST "GLIBC_2.2.5"
#define HSI_NAMED "GLIBC_2.12"
#else
#define HSI_OLDEST "GLIBC_2.17"
#define HSI_NAMED "GLIBC_2.17"
#endif
#define HSI_OLD(name, version) __asm__(".symver " #name "," #name "@" version)

HSI_OLD(dlopen, HSI_OLDEST);
HSI_OLD(dlvsym, HSI_OLDEST);
HSI_OLD(pthread_create, HSI_OLDEST);
HSI_OLD(pthread_detach, HSI_OLDEST);
HSI_OLD(pthread_key_create, HSI_OLDEST);
HSI_OLD(pthread_mutex_trylock, HSI_OLDEST);
HSI_OLD(pthread_once, HSI_OLDEST);
HSI_OLD(pthread_setname_np, HSI_NAMED);
HSI_OLD(pthread_setspecific, HSI_OLDEST);
HSI_OLD(pthread_sigmask, HSI_OLDEST);

#endif
