#include "ui/shared/units.h"

#include <QCoreApplication>
#include <QDateTime>
#include <QLocale>
#include <QRegularExpression>

#include <array>
#include <cmath>

namespace hs {

namespace {

constexpr QChar kNarrow(0x202F); // narrow no-break space

struct Units {
    Q_DECLARE_TR_FUNCTIONS(hs::Units)
};

// Three significant digits, never more than asked for by the value itself.
QString three_digits(double value) {
    const double size = std::abs(value);
    const int decimals = size >= 99.95 || value == std::floor(value) ? 0 : size >= 9.995 ? 1 : 2;
    QString text = QString::number(value, 'f', decimals);
    if (decimals == 2 && text.endsWith(QLatin1Char('0'))) {
        text.chop(1);
    }
    return text;
}

} // namespace

QString bytes_text(std::int64_t bytes) {
    static constexpr std::array kNames = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (std::abs(value) >= 1024.0 && unit + 1 < kNames.size()) {
        value /= 1024.0;
        ++unit;
    }
    return three_digits(value) + kNarrow + QLatin1String(kNames[unit]);
}

QString bytes_per_token_text(std::int64_t bytes) {
    return Units::tr("%1 per token").arg(bytes_text(bytes));
}

QString count_text(std::int64_t count) {
    const QString digits = QString::number(count);
    QString text;
    const qsizetype first = digits.startsWith(QLatin1Char('-')) ? 1 : 0;
    for (qsizetype i = 0; i < digits.size(); ++i) {
        const qsizetype left = digits.size() - i;
        // Four digits read well in one piece.
        if (i > first && left % 3 == 0 && digits.size() - first > 4) {
            text += kNarrow;
        }
        text += digits[i];
    }
    return text;
}

QString short_count_text(std::int64_t count) {
    static constexpr std::array kNames = {"", "K", "M", "B", "T"};
    double value = static_cast<double>(count);
    std::size_t unit = 0;
    while (std::abs(value) >= 999.5 && unit + 1 < kNames.size()) {
        value /= 1000.0;
        ++unit;
    }
    const QString number = three_digits(value);
    return unit == 0 ? number : number + kNarrow + QLatin1String(kNames[unit]);
}

QString tokens_text(std::int64_t tokens) {
    constexpr std::int64_t kThousand = 1024;
    constexpr std::int64_t kMillion = kThousand * kThousand;
    if (tokens >= kMillion && tokens % (kMillion / 4) == 0) {
        return three_digits(static_cast<double>(tokens) / static_cast<double>(kMillion)) +
               QLatin1Char('M');
    }
    if (tokens >= kThousand && tokens % (kThousand / 2) == 0) {
        return three_digits(static_cast<double>(tokens) / static_cast<double>(kThousand)) +
               QLatin1Char('k');
    }
    return count_text(tokens);
}

QString tokens_phrase(std::int64_t tokens) {
    return tokens == 1 ? Units::tr("1 token") : Units::tr("%1 tokens").arg(count_text(tokens));
}

QString duration_text(double ms) {
    if (ms < 0 || !std::isfinite(ms)) {
        return QStringLiteral("–");
    }
    if (ms < 999.5) {
        return three_digits(ms) + kNarrow + QLatin1String("ms");
    }
    const double seconds = ms / 1000.0;
    if (seconds < 120.0) {
        return three_digits(seconds) + kNarrow + QLatin1Char('s');
    }
    const auto whole = static_cast<std::int64_t>(std::llround(seconds));
    if (whole < 7200) {
        return Units::tr("%1 min %2 s").arg(whole / 60).arg(whole % 60);
    }
    return Units::tr("%1 h %2 min").arg(whole / 3600).arg(whole % 3600 / 60);
}

QString rate_text(double tokens_per_s) {
    if (tokens_per_s <= 0 || !std::isfinite(tokens_per_s)) {
        return QStringLiteral("–");
    }
    return three_digits(tokens_per_s) + kNarrow + Units::tr("tokens/s");
}

QString ratio_text(double ratio) {
    return std::isfinite(ratio) ? three_digits(ratio) + QChar(0x00D7) : QStringLiteral("–");
}

QString percent_text(double fraction) {
    if (!std::isfinite(fraction)) {
        return QStringLiteral("–");
    }
    return three_digits(fraction * 100.0) + kNarrow + QLatin1Char('%');
}

QString signed_percent_text(double fraction) {
    if (!std::isfinite(fraction)) {
        return QStringLiteral("–");
    }
    const QChar sign = fraction < 0 ? QChar(0x2212) : QLatin1Char('+');
    return sign + percent_text(std::abs(fraction));
}

QString title_text(const QString& text) {
    const QString line = text.simplified();
    return line.size() > 60 ? line.left(59) + QChar(0x2026) : line;
}

QString bundled_label(const QString& name) {
    // What stands beside full attention is named where it is not the gated delta rule.
    static const QRegularExpression ratio(QStringLiteral("(\\d+)-(\\d+)(?:-(\\w+))?$"));
    const QRegularExpressionMatch match = ratio.match(name);
    if (match.hasMatch()) {
        QString mixer = match.captured(3);
        if (mixer.size() <= 3) { // KDA
            mixer = mixer.toUpper();
        }
        return Units::tr("Ratio %1:%2").arg(match.captured(1), match.captured(2)) +
               (mixer.isEmpty() ? QString() : QStringLiteral(", ") + mixer);
    }
    if (name.contains(QLatin1String("none")) || name.contains(QLatin1String("linear"))) {
        return Units::tr("No full attention");
    }
    if (name.contains(QLatin1String("full"))) {
        return Units::tr("Full attention");
    }
    return name;
}

QString age_text(std::int64_t unix_ms, std::int64_t now_ms) {
    const std::int64_t seconds = (now_ms - unix_ms) / 1000;
    if (seconds < 60) {
        return Units::tr("just now");
    }
    if (seconds < 3600) {
        return Units::tr("%1 min ago").arg(seconds / 60);
    }
    const QDateTime then = QDateTime::fromMSecsSinceEpoch(unix_ms);
    const QDateTime now = QDateTime::fromMSecsSinceEpoch(now_ms);
    if (then.date() == now.date()) {
        return Units::tr("today, %1").arg(then.toString(QStringLiteral("HH:mm")));
    }
    if (then.date().addDays(1) == now.date()) {
        return Units::tr("yesterday, %1").arg(then.toString(QStringLiteral("HH:mm")));
    }
    return then.toString(QStringLiteral("d MMM yyyy"));
}

} // namespace hs
