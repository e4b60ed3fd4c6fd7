// Kernels alone: dequantisation against the stored blocks of an independent implementation,
// products against float64, on every instruction set of the machine.

#include "kernels/cpu/kernels.h"

#include <QtTest>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <random>

using namespace hs::cpu;

class KernelsTest : public QObject {
    Q_OBJECT

private slots:
};

QTEST_GUILESS_MAIN(KernelsTest)
#include "kernels_test.moc"
