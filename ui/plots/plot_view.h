#pragma once
// Draws one PlotContent: axes with units, legend, noise bands, a cursor that reads every line
// (mouse or arrow keys), zoom, a table twin (key T) that is also the accessible form, and export.
// Shared by all plots; follows the palette. Draws only when it is visible.

#include "ui/plots/plots.h"

#include <QWidget>

class QCPItemStraightLine;
class QCustomPlot;
class QLabel;
class QStackedWidget;
class QStandardItemModel;
class QTableView;

namespace hs {

class PlotView : public QWidget {
    Q_OBJECT

public:
    explicit PlotView(QWidget* parent = nullptr);

    void set_title(const QString& title);
    void set_content(const PlotContent& content);
    const PlotContent& content() const { return m_content; }
    // The numbers as a table: first column x, then one per series, in the unit shown.
    QStandardItemModel* table() const { return m_table; }
    bool table_shown() const;
    void show_table(bool shown);

    // Image formats by the file's ending: png, pdf. Errors as text; empty when written.
    QString save_image(const QString& path);
    QString as_tsv();

protected:
    void changeEvent(QEvent* event) override;
    void keyPressEvent(QKeyEvent* event) override;
    void showEvent(QShowEvent* event) override;
    void contextMenuEvent(QContextMenuEvent* event) override;

private:
    void draw();
    void draw_lines(double scale);
    void draw_bars(double scale);
    void restyle();
    void fill_table(double scale);
    void move_cursor(double x);
    QString readout(double x) const;

    QString m_title;
    PlotContent m_content;
    bool m_dirty = false;
    double m_scale = 1.0; // values are divided by it for display
    QString m_unit;
    double m_cursor = -1;
    QCustomPlot* m_plot;
    QCPItemStraightLine* m_cursor_line;
    QLabel* m_readout;
    QLabel* m_method;
    QStackedWidget* m_stack;
    QTableView* m_table_view;
    QStandardItemModel* m_table;
};

// Colour, dash and mark of the n-th arm, the same in every plot, table and legend.
QColor arm_colour(int index, const QPalette& palette);

} // namespace hs
